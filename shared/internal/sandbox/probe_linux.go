package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// trials begin with what a plugin cannot do without: a level at which nothing works
// refuses every attack, and proves nothing.
var trials = []trial{
	{"reads system files", nil, func(*probeOrder) error { _, err := os.ReadDir("/usr"); return err }},
	{"writes its temporary directory", nil, writesTemp},
	{"uses /dev/null", nil, func(*probeOrder) error { return os.WriteFile("/dev/null", []byte("x"), 0) }},
	{"starts programs", nil, startsPrograms},
	{"connects to its agent socket", nil, func(o *probeOrder) error { return connects("unix", o.Socket) }},
	{"has no new privileges", hasProc, func(*probeOrder) error { return statusIs("NoNewPrivs", "1") }},
	{"has no capabilities", hasProc, hasNoCapabilities},
	{"has a system call filter", above(Limited, hasProc), func(*probeOrder) error { return statusIs("Seccomp", "2") }},
	{"has no descriptor of the agent's", nil, hasNoDescriptors},
	{"cannot make namespaces", above(Limited, nil), func(*probeOrder) error { return mustFail(unix.Unshare(unix.CLONE_NEWUSER)) }},
	{"cannot mount", above(Limited, nil), func(o *probeOrder) error { return mustFail(unix.Mount("tmpfs", o.Temp, "tmpfs", 0, "")) }},
	{"cannot use io_uring", above(Limited, nil), func(*probeOrder) error { return mustFailCall(unix.SYS_IO_URING_SETUP, 1, 0) }},
	{"cannot trace", above(Limited, nil), func(o *probeOrder) error { return mustFail(unix.PtraceSeize(o.Agent)) }},
	{"cannot change its mark ", above(Limited, nil), func(*probeOrder) error {
		return mustFail(unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: 1, Max: 1}))
	}},
	{"cannot read the agent's files", above(Confined, nil), func(o *probeOrder) error { _, err := os.ReadFile(o.Secret); return mustFail(err) }},
	{"cannot write the agent's files", above(Confined, nil), func(o *probeOrder) error { return mustFail(os.WriteFile(o.Secret+".new", nil, 0o600)) }},
	{"cannot write system files", above(Confined, nil), func(*probeOrder) error { return mustFail(os.WriteFile("/usr/.stavily-probe", nil, 0o600)) }},
	{"cannot connect to other sockets", above(Confined, func(o *probeOrder) bool { return o.Level == Full || o.Broker }), func(o *probeOrder) error { return mustFail(connects("unix", o.Stranger)) }},
	{"cannot connect to abstract sockets", above(Confined, func(o *probeOrder) bool { return o.Level == Full || o.Broker || o.ABI >= abiScope }), func(o *probeOrder) error { return mustFail(connects("unix", o.Abstract)) }},
	{"cannot reach the network", above(Confined, nil), func(o *probeOrder) error { return mustFail(connects("tcp", o.TCP)) }},
	{"cannot signal the agent", above(Confined, nil), cannotSignalAgent},
	{"does not see the agent's files", above(Full, nil), func(o *probeOrder) error {
		if _, err := os.Stat(filepath.Dir(o.Secret)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there: %v", filepath.Dir(o.Secret), err)
		}
		return nil
	}},
	{"is alone in its process ids", above(Full, nil), func(*probeOrder) error {
		if os.Getpid() != 1 {
			return fmt.Errorf("has process id %d", os.Getpid())
		}
		return nil
	}},
}

// harmless is a signal that nobody minds who does not ask for it. Signal 0 would prove
// nothing: before Landlock had a scope for signals, to ask is allowed.
const harmless = unix.SIGWINCH

// cannotSignalAgent skips an agent whose number is the probe's own: that of the first
// process of a container, which is process 1 like the probe among process ids of its
// own. There the agent has no number to be signalled by.
func cannotSignalAgent(o *probeOrder) error {
	if o.Agent == os.Getpid() {
		return nil
	}
	return mustFail(unix.Kill(o.Agent, harmless))
}

func hasProc(o *probeOrder) bool { return o.Level != Full || o.Proc }

func mustFailCall(nr uintptr, a, b uintptr) error {
	if _, _, errno := unix.RawSyscall(nr, a, b, 0); errno != 0 {
		return nil
	}
	return errors.New("it worked")
}

func statusIs(name, want string) error {
	got, err := statusOf(name)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %s, not %s", name, got, want)
	}
	return err
}

// statusOf reads a line of proc_pid_status(5).
func statusOf(name string) (string, error) {
	b, err := limits.ReadFile("/proc/self/status", maxProcFile)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(b) {
		if key, value, _ := strings.Cut(string(line), ":"); key == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/self/status has no %s", name)
}

func hasNoCapabilities(*probeOrder) error {
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if err := statusIs(name, "0000000000000000"); err != nil {
			return err
		}
	}
	return nil
}

// hasNoDescriptors looks at the numbers below 256; the Go runtime has its own above
// the standard files, which are close-on-exec, while inherited ones are not.
func hasNoDescriptors(*probeOrder) error {
	for fd := 3; fd < 256; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			return errors.New("descriptor " + strconv.Itoa(fd) + " is open")
		}
	}
	return nil
}
