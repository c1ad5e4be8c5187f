package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// maxEnviron is the most that the kernel takes as environment by default, with
// arguments (execve(2)).
const maxEnviron = 2 << 20

// Reclaim ends what the plugins of an agent that was killed left behind: processes
// that began with the environment of a plugin whose HOME is below base. It reports
// how many there were. An agent calls it once, when it holds the lock of base and
// before it starts anything. A process that hides its origin is not found; only a
// process-id namespace holds such.
func Reclaim(base string) (int, error) {
	seen := map[int]bool{}
	for deadline := time.Now().Add(deathLimit); ; time.Sleep(killPause) {
		left, err := killLeftovers(filepath.Clean(base))
		if err != nil {
			return len(seen), fmt.Errorf("end what an earlier agent left behind: %w", err)
		}
		for _, pid := range left {
			seen[pid] = true
		}
		switch {
		case len(left) == 0:
			return len(seen), nil
		case time.Now().After(deadline):
			return len(seen), fmt.Errorf("end what an earlier agent left behind: processes %v do not die", left)
		}
	}
}

// killLeftovers kills once and lists what it killed.
func killLeftovers(base string) ([]int, error) {
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
		if isLeftover(pid, base) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
			out = append(out, pid)
		}
		unix.Close(fd)
	}
	return out, nil
}

func isLeftover(pid int, base string) bool {
	environ, err := limits.ReadFile("/proc/"+strconv.Itoa(pid)+"/environ", maxEnviron)
	if err != nil {
		return false // gone, a zombie's, or somebody else's
	}
	ours, below := false, false
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, _ := strings.Cut(string(v), "=")
		ours = ours || name == "STAVILY_PLUGIN_ID"
		below = below || name == "HOME" && strings.HasPrefix(value, base+string(filepath.Separator))
	}
	return ours && below
}
