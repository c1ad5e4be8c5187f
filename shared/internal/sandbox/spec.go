package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stavily/agents/shared/internal/cgroup"
)

// Spec says what to run and what it may do. The zero value of a limit means that
// there is none. Paths are absolute and hold no symbolic link, unless they say so.
type Spec struct {
	Path string   // the program; may be a link
	Args []string // argv, beginning with the program's name; never empty
	Env  []string // the whole environment, as [Environment.List] builds it
	Dir  string   // working directory

	// The process's standard files. Nil is the null device. They stay the caller's
	// to close, and may be closed as soon as Start has returned.
	Stdin, Stdout, Stderr *os.File
	Files                 []*os.File // its further descriptors: 3, 4, …

	// Given, where it is set, is a directory in which processes that are forked from this
	// one find their sockets and inputs, each its own. They are watched one by one
	// ([Adopt]); the limits of this one are for all of them together.
	Given string

	// Host is what the self-test found ([Probe]), Level what of it confines the
	// process. Without a Host, or at level none, nothing does.
	Host  *Host
	Level Level

	Code        []string // what the program consists of: read and executed
	Read, Write []string // what is granted besides; writing includes reading
	Stat        []string // is seen, so that names and file systems can be asked for, and not read; level full
	Temp, Home  string   // directories of its own: of this process, and of all like it; writable
	Socket      string   // the agent socket
	Input       string   // a file that it is given
	Sockets     []string // Unix sockets that it may connect to besides
	Masks       []string // what nothing that is granted above it shows; level full
	Mounts      []Mount  // places of the host under other names, read-only; level full
	Network     Network
	Group       *cgroup.Group // made for this launch, with its limits; nil is the agent's own
	User        *Credential   // whom an agent that runs as root lets it be; nil is the agent's own

	Limits Limits
	Grace  time.Duration // between asking to end and forcing it; 0 is DefaultGrace

	Ended func(Exit) `json:"-"` // hears how the process ended, before Wait returns; may be nil
}

// Mount shows the host's Source at Target.
type Mount struct {
	Source, Target string
	Stat           bool // only seen, as in Spec.Stat
}

// onlySeen reports whether the process sees what it may not read.
func (s *Spec) onlySeen() bool {
	return len(s.Stat) > 0 || slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Stat })
}

// source is the place of the host that the process finds at path.
func (s *Spec) source(path string) string {
	for _, m := range s.Mounts {
		if rest, below := strings.CutPrefix(path, m.Target+"/"); below {
			return filepath.Join(m.Source, rest)
		}
	}
	return path
}

// Credential is a user and its group, by number.
type Credential struct{ UID, GID uint32 }

// credential is whom the process is.
func (s *Spec) credential() Credential {
	if s.User != nil {
		return *s.User
	}
	return Credential{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// Network is what a process may reach; the zero value is nothing.
type Network struct {
	All    bool     // whatever the host reaches
	Ports  []uint16 // TCP to any address on these
	Listen []Listen // level full: these and nothing else
}

// Listen is a place that the process may connect to. It finds a listener of the agent
// there, in its own network namespace, and in its hosts file the name that leads to it;
// Serve is called once, accepts, and returns when the listener is closed, which is when
// the process has ended.
type Listen struct {
	Name    string     // what the process calls the host: a name, or an address
	Address netip.Addr // where that is in the namespace: of loopback, or the host's very address
	Port    uint16
	Serve   func(net.Listener) `json:"-"`
}

// Limits bound one process tree. Zero is no limit, unless a field says otherwise.
type Limits struct {
	Time      time.Duration // since the start, by the clock
	Memory    int64         // resident bytes of the tree; pages shared within it count each time
	CPU       time.Duration // CPU time of one process, counted in seconds
	CPUShare  float64       // processors' worth of time
	Processes int           // processes and threads in the tree, as the kernel counts them
	FileSize  int64         // bytes of one file that it writes; never more than TempSize where Write grants nothing
	OpenFiles uint64        // descriptors of one process
	TempSize  int64         // bytes in Temp, with the growth of Home; 0 is 64 MiB
	TempFiles int64         // the same in files; 0 is 4096
}

const (
	defaultTempSize  int64 = 64 << 20
	defaultTempFiles int64 = 4096
)

// DefaultGrace is the time a plugin has to end after it was asked to. A third of
// what Kubernetes gives a pod (30 s), so that the agent still ends in order.
const DefaultGrace = 10 * time.Second

// Reason is why a process was ended from outside, or the limit for which it failed;
// empty when it ended by itself.
type Reason string

// The reasons. They are stable: results and metrics carry them.
const (
	TimeLimit     Reason = "time_limit"
	MemoryLimit   Reason = "memory_limit"
	ProcessLimit  Reason = "process_limit"
	CPULimit      Reason = "cpu_limit"
	TempLimit     Reason = "temp_limit"
	FileSizeLimit Reason = "file_size_limit"
	Stopped       Reason = "stopped" // Kill was called or the context ended
)

// Exit is how a process ended and what it took.
type Exit struct {
	Code     int            // exit status; -1 when a signal ended it
	Signal   syscall.Signal // 0 when it exited
	Reason   Reason
	Duration time.Duration
	CPU      time.Duration // user and system, with its launch and the children it waited for, or all in its control group
	MaxRSS   int64         // bytes: the highest sample of the whole tree, or the kernel's figure where higher
	Stored   int64         // bytes: the most seen in Temp, with the growth of Home
}

// Success reports whether the process ended by itself with exit code 0.
func (e Exit) Success() bool { return e.Code == 0 && e.Signal == 0 && e.Reason == "" }

// String is a clause for a message, for example "ended with exit code 3".
func (e Exit) String() string {
	switch e.Reason {
	case TimeLimit:
		return "was ended: it ran into its time limit"
	case MemoryLimit:
		return "was ended: it took more memory than its limit"
	case ProcessLimit:
		return "was ended: it started more processes than its limit"
	case CPULimit:
		return "was ended: it took more CPU time than its limit"
	case TempLimit:
		return "was ended: it stored more than its limit (security.sandbox.max_temp)"
	case FileSizeLimit:
		return "was ended: it wrote a file larger than its limit"
	case Stopped:
		return "was stopped"
	}
	if e.Signal != 0 {
		return fmt.Sprintf("was ended by signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

// confined reports whether the process is held at least to level l.
func (s *Spec) confined(l Level) bool { return s.Host != nil && s.Level.AtLeast(l) }

// shown are the single files that it finds among its private ones.
func (s *Spec) shown() []string {
	return slices.DeleteFunc(append([]string{s.Socket, s.Input}, s.Sockets...), func(path string) bool { return path == "" })
}

// places are the paths that must be there. What is granted may come and go.
func (s *Spec) places() []string {
	out := slices.Concat([]string{s.Dir, s.Temp, s.Home}, s.Code, s.shown())
	for _, m := range s.Mounts {
		out = append(out, m.Source)
	}
	return slices.DeleteFunc(out, func(path string) bool { return path == "" })
}

// paths are all that a Spec names.
func (s *Spec) paths() []string {
	out := slices.Concat(s.places(), s.Read, s.Write, s.Stat, s.Masks)
	for _, m := range s.Mounts {
		out = append(out, m.Target)
	}
	return out
}

func (s *Spec) validate() error {
	for _, text := range slices.Concat(s.paths(), s.Args, s.Env, []string{s.Path}) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("start process: %q: must not hold a NUL byte", text)
		}
	}
	for _, path := range s.paths() {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return fmt.Errorf("start process: path %q: must be an absolute path, and hold no '.' or '..' of its own", path)
		}
	}
	switch {
	case s.confined(Full) && s.Temp == "":
		return errors.New("start process: level full needs a directory for temporary files")
	case s.Host != nil && s.Level != "" && !s.Host.Level.AtLeast(s.Level):
		return fmt.Errorf("start process: level %s: this host gives %s; `sandbox check` says what is missing", s.Level, s.Host.Level)
	case len(s.Network.Listen) > 0 && !s.confined(Full):
		return errors.New("start process: destinations can only be told apart at level full")
	case slices.ContainsFunc(s.Network.Listen, func(l Listen) bool { return !l.Address.IsValid() || l.Serve == nil }):
		return errors.New("start process: each listener needs an address and somebody who serves it")
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("start process: program %q: must be an absolute path", s.Path)
	case len(s.Args) == 0:
		return errors.New("start process: no arguments: argv must begin with the program's name")
	case s.Dir == "":
		return errors.New("start process: no working directory: must be an absolute path")
	}
	return nil
}
