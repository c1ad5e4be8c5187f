package sandbox

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// A mark tells the processes of one agent's plugins from all others, wherever they
// hide: the hard limit of RLIMIT_LOCKS. The kernel has ignored that limit since
// 2.4.25, every fork and exec inherits it, no unprivileged process can raise it, and
// the system call filter refuses to lower it. Everybody may read it in
// /proc/PID/limits.

// markOf derives an agent's mark from its base directory: the same after a restart,
// another for the same path on another file system, as containers have.
func markOf(base string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(filepath.Clean(base)))
	var st unix.Stat_t
	if unix.Stat(base, &st) == nil {
		fmt.Fprint(h, st.Dev, st.Ino)
	}
	return h.Sum64()>>2 | 1<<40 // below infinity, and no number that people set
}

// keeper is the process that ends plugins when their agent dies.
type keeper struct {
	keeperProcess
	mark uint64 // of our plugins; 0 before Keep
}

var keeping keeper

// Keep makes base the directory by which this agent's plugins are known, ends what
// plugins of a former process of it left behind, and reports how many processes that
// were. An agent calls it once, when it holds the lock of base and before it starts
// anything.
func Keep(base string) (int, error) {
	mark := markOf(base)
	keeping.Lock()
	keeping.mark = mark
	keeping.Unlock()
	n, err := endMarked(mark, time.Now().Add(deathLimit))
	if err != nil {
		return n, fmt.Errorf("end what an earlier agent left behind: %w", err)
	}
	return n, nil
}

// markLimit is the limit that marks a plugin's process; none before Keep.
func markLimit() []rlimit {
	keeping.Lock()
	defer keeping.Unlock()
	if keeping.mark == 0 {
		return nil
	}
	return []rlimit{{unix.RLIMIT_LOCKS, unix.Rlimit{Cur: keeping.mark, Max: keeping.mark}}}
}

const keeperMark = "STAVILY_KEEPER_MARK"

// keep has a keeper run once there are plugins that would outlive a killed agent: those
// without a process-id namespace, whose first process alone hears of it.
func keep() error {
	keeping.Lock()
	defer keeping.Unlock()
	if keeping.mark == 0 || keeping.lives() {
		return nil
	}
	// This name holds also after an update has replaced the file.
	return keeping.start("/proc/self/exe", keeperMark+"="+strconv.FormatUint(keeping.mark, 10))
}

// keeperMain waits for the end of the agent, which is the end of its standard input,
// and then ends the agent's plugins.
func keeperMain() {
	mark, err := strconv.ParseUint(os.Getenv(keeperMark), 10, 64)
	if err == nil && mark != 0 {
		_, _ = os.Stdin.Read(make([]byte, 1)) // nobody writes: it ends
		_, _ = endMarked(mark, time.Now().Add(deathLimit))
	}
	os.Exit(0)
}

// endMarked kills until no process bears the mark, and reports how many did.
func endMarked(mark uint64, deadline time.Time) (int, error) {
	seen := map[int]bool{}
	for ; ; time.Sleep(killPause) {
		left, err := killMarked(mark)
		if err != nil {
			return len(seen), err
		}
		for _, pid := range left {
			seen[pid] = true
		}
		switch {
		case len(left) == 0:
			return len(seen), nil
		case time.Now().After(deadline):
			return len(seen), fmt.Errorf("processes %v do not die", left)
		}
	}
}

// killMarked kills once and lists what it killed.
func killMarked(mark uint64) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0) // before the look: the number may be reused
		if err != nil {
			continue
		}
		if bears(pid, mark) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
			out = append(out, pid)
		}
		unix.Close(fd)
	}
	return out, nil
}

// bears reports whether a living process bears the mark (proc_pid_limits(5)). Those of
// a zombie cannot be read.
func bears(pid int, mark uint64) bool {
	b, err := limits.ReadFile("/proc/"+strconv.Itoa(pid)+"/limits", maxProcFile)
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), "Max file locks")
	fields := strings.Fields(rest)
	return ok && len(fields) >= 2 && fields[1] == strconv.FormatUint(mark, 10) && alive(pid)
}

func alive(pid int) bool {
	s, ok := statOf(pid)
	return ok && s.state != 'Z' && s.state != 'X'
}
