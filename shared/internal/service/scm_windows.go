package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/stavily/agents/internal/atomicfile"
)

// account is the virtual one that Windows keeps for each service: it can do little, has
// no password, and needs no making.
func account(a Agent) string { return `NT SERVICE\` + a.Name() }

// Ready refuses where services cannot be changed: by others than administrators.
func Ready(what string) error {
	if !windows.GetCurrentProcessToken().IsElevated() {
		return fmt.Errorf("%w: %s takes an administrator: repeat it in an elevated prompt", ErrNotPossible, what)
	}
	return nil
}

// Install makes a a service that starts with the host. It does not start it.
func Install(a Agent) ([]Step, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	access := []string{a.Base, "/inheritance:r", "/grant:r", "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F", account(a) + ":(OI)(CI)M"}
	return []Step{
		{fmt.Sprintf("make %s with %s", a.Base, a.Config), func(context.Context) error { return place(a) }},
		{fmt.Sprintf("create the service %s, which runs %s as %s", a.Name(), a.Binary, account(a)), create(a)},
		run("icacls", access...),
	}, nil
}

// Unit is what Install tells the service control manager.
func Unit(a Agent) string {
	return fmt.Sprintf("%q --config=%q as %s\n", a.Binary, a.Config, account(a))
}

func place(a Agent) error {
	if err := os.MkdirAll(filepath.Dir(a.Config), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(a.Base, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(a.Config); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(a.Config, a.First, 0o600)
}

func create(a Agent) func(context.Context) error {
	return func(context.Context) error {
		m, err := mgr.Connect()
		if err != nil {
			return err
		}
		defer m.Disconnect()
		if s, err := m.OpenService(a.Name()); err == nil {
			defer s.Close()
			c, err := s.Config()
			if err != nil {
				return err
			}
			c.BinaryPathName = windows.ComposeCommandLine([]string{a.Binary, "--config=" + a.Config})
			return s.UpdateConfig(c)
		}
		s, err := m.CreateService(a.Name(), a.Binary, mgr.Config{
			DisplayName: "Stavily " + a.Type + " agent " + a.ID, Description: "Runs what Stavily asks of this host.",
			StartType: mgr.StartAutomatic, DelayedAutoStart: true, ServiceStartName: account(a),
		}, "--config="+a.Config)
		if err != nil {
			return err
		}
		defer s.Close()
		again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 5 * time.Second}
		return errors.Join(s.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, 60), s.SetRecoveryActionsOnNonCrashFailures(true))
	}
}

// Uninstall stops a and takes the service away. The base directory stays.
func Uninstall(a Agent) ([]Step, error) {
	if err := with(a, func(*mgr.Service) error { return nil }); err != nil {
		return nil, fmt.Errorf("%s is no service of this host: %w", a.Name(), err)
	}
	return append(Stop(a), Step{"delete the service " + a.Name(), func(context.Context) error {
		return with(a, (*mgr.Service).Delete)
	}}), nil
}

func with(a Agent, do func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	s, err := m.OpenService(a.Name())
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// Start starts a now.
func Start(a Agent) []Step {
	return []Step{{"start the service " + a.Name(), func(context.Context) error {
		return with(a, func(s *mgr.Service) error { return s.Start() })
	}}}
}

// Stop stops a and waits until it has ended.
func Stop(a Agent) []Step {
	return []Step{{"stop the service " + a.Name(), func(ctx context.Context) error {
		return with(a, func(s *mgr.Service) error { return stop(ctx, s) })
	}}}
}

func stop(ctx context.Context, s *mgr.Service) error {
	if _, err := s.Control(svc.Stop); err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, StopLimit)
	defer cancel()
	for {
		status, err := s.Query()
		if err != nil || status.State == svc.Stopped {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it has not ended: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Restart stops a, waits until it has ended, and starts it.
func Restart(a Agent) []Step { return append(Stop(a), Start(a)...) }

var states = map[svc.State]string{
	svc.Stopped: "stopped", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Running: "running",
	svc.ContinuePending: "continuing", svc.PausePending: "pausing", svc.Paused: "paused",
}

// Status prints what the service manager knows; the error says that a does not run.
func Status(_ context.Context, a Agent, out io.Writer) error {
	return with(a, func(s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s, process %d\n", a.Name(), states[status.State], status.ProcessId)
		if status.State != svc.Running {
			return fmt.Errorf("%s does not run", a.Name())
		}
		return nil
	})
}

func installed(program string) ([]string, error) {
	m, err := mgr.Connect()
	if err != nil {
		return nil, err
	}
	defer m.Disconnect()
	names, err := m.ListServices()
	var ids []string
	for _, name := range names {
		if id, ours := strings.CutPrefix(name, program+"-"); ours {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// BecomeOwner does nothing: directories give their access to what is made in them.
func BecomeOwner(string) error { return nil }
