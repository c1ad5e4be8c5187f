package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/seatbelt"
)

// adopt does nothing: there are no subreapers here.
func adopt() {}

// executable looks at the program before anything is started.
func executable(s *Spec) error {
	info, err := os.Stat(s.Path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: is not an executable file: chmod +x it", s.Path)
	}
	return nil
}

// command is what a launcher executes: the program, or what puts the profile on it.
func (s *Spec) command() (path string, args []string) {
	if !s.confined(Confined) {
		return s.Path, s.Args
	}
	p := seatbelt.Policy{
		Read:  slices.Concat(s.Code, s.Read, optional(s.Input), []string{s.Path}),
		Write: slices.Concat(s.Write, optional(s.Temp), optional(s.Home)),
		Masks: s.Masks, Socket: s.Socket, Network: s.Network.All, Ports: s.Network.Ports,
	}
	if real, err := filepath.EvalSymlinks(s.Path); err == nil && real != s.Path {
		p.Read = append(p.Read, real)
	}
	return seatbelt.Program, p.Command(append([]string{s.Path}, s.Args[1:]...))
}

// optional is path where there is one.
func optional(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

// confine sets the resource limits that exist here and becomes the plugin. It
// returns only with an error.
func confine(o order, status *os.File) error {
	if err := arrange(o.Files); err != nil {
		return fmt.Errorf("arrange descriptors: %w", err)
	}
	for _, r := range o.RLimits {
		if r.Resource == unix.RLIMIT_AS {
			continue // accepted and not enforced (macOS setrlimit)
		}
		if err := r.clamp(); err != nil {
			return err
		}
		if err := unix.Setrlimit(r.Resource, &r.Value); err != nil {
			return fmt.Errorf("set resource limit %d: %w", r.Resource, err)
		}
	}
	if os.Getppid() != o.Parent {
		return errors.New("the agent died")
	}
	if _, err := status.Write([]byte{committed}); err != nil {
		return err
	}
	var errno syscall.Errno
	if err := syscall.Exec(o.Path, o.Args, o.Env); !errors.As(err, &errno) {
		return err
	}
	return errors.New(strconv.Itoa(int(errno)))
}

// arrange puts the plugin's further descriptors where it expects them, which is where
// the launcher's were, and has all others closed by execve(2): Go opens its own so, a
// service manager may have left some that are not.
func arrange(files int) error {
	for i := range files {
		if err := unix.Dup2(statusFD+1+i, orderFD+i); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= orderFD+files {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
