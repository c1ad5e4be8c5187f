package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Spec says what to run and what it may do. The zero value of a limit means that
// there is none.
type Spec struct {
	Path string   // the program: an absolute path
	Args []string // argv, beginning with the program's name; never empty
	Env  []string // the whole environment, as [Environment.List] builds it
	Dir  string   // working directory: an absolute path

	// The process's standard files. Nil is the null device. They stay the caller's
	// to close, and may be closed as soon as Start has returned.
	Stdin, Stdout, Stderr *os.File
	Files                 []*os.File // further descriptors of the process: 3, 4, …

	// What is granted besides the interpreter and Dir. [Posture] tells whether the
	// platform holds the plugin to it.
	Read, Write []string // paths
	Network     Network

	Limits Limits
	Grace  time.Duration // between asking to end and forcing it; 0 is DefaultGrace
}

// Network is what a process may reach: everything, or the destinations, each
// "host:port" or "port"; neither is nothing.
type Network struct {
	All          bool
	Destinations []string
}

// Limits bound one process tree. Zero is no limit.
type Limits struct {
	Time      time.Duration // since the start, by the clock
	Memory    int64         // resident bytes of the tree; pages shared within it count each time
	CPU       time.Duration // CPU time of one process, counted in seconds
	Processes int           // processes in the tree
	FileSize  int64         // bytes of one file that it writes
	OpenFiles uint64        // descriptors of one process
}

// DefaultGrace is the time a plugin has to end after it was asked to. A third of
// what Kubernetes gives a pod (30 s), so that the agent still ends in order.
const DefaultGrace = 10 * time.Second

// Reason is why a process was ended from outside; empty when it ended by itself.
type Reason string

// The reasons. They are stable: results and metrics carry them.
const (
	TimeLimit    Reason = "time_limit"
	MemoryLimit  Reason = "memory_limit"
	ProcessLimit Reason = "process_limit"
	CPULimit     Reason = "cpu_limit"
	Stopped      Reason = "stopped" // Kill was called or the context ended
)

// Exit is how a process ended and what it took.
type Exit struct {
	Code     int            // exit status; -1 when a signal ended it
	Signal   syscall.Signal // 0 when it exited
	Reason   Reason
	Duration time.Duration
	CPU      time.Duration // user and system, with its launch and the children it waited for
	MaxRSS   int64         // bytes: the highest sample of the whole tree, or the kernel's figure where higher
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
	case Stopped:
		return "was stopped"
	}
	if e.Signal != 0 {
		return fmt.Sprintf("was ended by signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

func (s *Spec) validate() error {
	switch {
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("start process: program %q: must be an absolute path", s.Path)
	case len(s.Args) == 0:
		return errors.New("start process: no arguments: argv must begin with the program's name")
	case !filepath.IsAbs(s.Dir):
		return fmt.Errorf("start process: working directory %q: must be an absolute path", s.Dir)
	}
	return nil
}
