package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

const (
	unitDir = "/etc/systemd/system"
	running = "/run/systemd/system" // sd_booted(3)
)

func unitPath(a Agent) string { return filepath.Join(unitDir, a.Name()+".service") }

// Ready refuses where services cannot be changed: without systemd, or by others than root.
func Ready(what string) error {
	if _, err := os.Stat(running); err != nil {
		return fmt.Errorf("%w: systemd does not run on this host (no %s): run the agent in a container, or as a background process (docs/install.md)", ErrNotPossible, running)
	}
	return needRoot(what)
}

// Install makes a a service that starts with the host. It does not start it.
func Install(a Agent) ([]Step, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	var steps []Step
	var unknown user.UnknownUserError
	if _, err := lookup(a.User); errors.As(err, &unknown) {
		args := []string{"--system", "--user-group", "--no-create-home", "--shell", "/bin/false", "--home-dir", Home, a.User}
		steps = append(steps, Step{"create the user " + a.User + ": useradd " + strings.Join(args, " "), command("useradd", args...)})
	} else if err != nil {
		return nil, err
	}
	path, text := unitPath(a), Unit(a)
	return append(steps,
		Step{fmt.Sprintf("make %s with %s, private to %s", a.Base, a.Config, a.User), func(context.Context) error { return place(a) }},
		Step{"write " + path, func(context.Context) error {
			return writeUnit(path, text, "# Written by "+a.Program+" install", a.Replace)
		}},
		systemctl("daemon-reload"), systemctl("enable", a.Name()),
	), nil
}

// Unit is the text that Install writes.
func Unit(a Agent) string { return unit(a, groupOf(a.User)) }

// groupOf is a user's group: the one of the same name, which useradd will make where the
// user is missing, or its number, since not every name can stand in a unit.
func groupOf(name string) string {
	u, err := user.Lookup(name)
	if err != nil {
		return name
	}
	if g, err := user.LookupGroup(name); err == nil && g.Gid == u.Gid {
		return name
	}
	return u.Gid
}

// Uninstall stops a and takes the service away. The account and the base directory stay.
func Uninstall(a Agent) ([]Step, error) {
	path := unitPath(a)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is no service of this host: %w", a.Name(), err)
	}
	return []Step{
		systemctl("disable", "--now", a.Name()),
		{"remove " + path, func(context.Context) error { return os.Remove(path) }},
		systemctl("daemon-reload"),
	}, nil
}

// Start starts a now.
func Start(a Agent) []Step { return []Step{systemctl("start", a.Name())} }

// Stop stops a and waits until it has ended.
func Stop(a Agent) []Step { return []Step{systemctl("stop", a.Name())} }

// Restart stops a, waits until it has ended, and starts it.
func Restart(a Agent) []Step { return []Step{systemctl("restart", a.Name())} }

// Status prints what the service manager knows; the error says that a does not run.
func Status(ctx context.Context, a Agent, out io.Writer) error {
	return show(ctx, a, out, "systemctl", "status", "--no-pager", "--full", a.Name())
}

func systemctl(args ...string) Step { return run("systemctl", args...) }

func installed(program string) ([]string, error) { return named(unitDir, program+"-", ".service") }
