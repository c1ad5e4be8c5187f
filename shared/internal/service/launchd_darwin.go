package service

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

const daemons = "/Library/LaunchDaemons"

func jobPath(a Agent) string { return filepath.Join(daemons, label(a)+".plist") }
func target(a Agent) string  { return "system/" + label(a) }

// Ready refuses where services cannot be changed: by others than root.
func Ready(what string) error { return needRoot(what) }

// Install makes a a service that starts with the host. It does not start it. The account
// must be there: how macOS wants one made depends on its version.
func Install(a Agent) ([]Step, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if _, err := lookup(a.User); err != nil {
		return nil, fmt.Errorf("%w: %w: make the account first (docs/install.md has the commands), or name another with --user", ErrNotPossible, err)
	}
	path, text := jobPath(a), propertyList(a)
	return []Step{
		{fmt.Sprintf("make %s with %s, private to %s", a.Base, a.Config, a.User), func(context.Context) error { return place(a) }},
		{"write " + path, func(context.Context) error { return writeUnit(path, text, label(a), a.Replace) }},
		launchctl("enable", target(a)),
	}, nil
}

// Unit is the text that Install writes.
func Unit(a Agent) string { return propertyList(a) }

// Uninstall stops a and takes the service away. The account and the base directory stay.
func Uninstall(a Agent) ([]Step, error) {
	path := jobPath(a)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is no service of this host: %w", a.Name(), err)
	}
	var steps []Step
	if loaded(a) {
		steps = Stop(a)
	}
	return append(steps, Step{"remove " + path, func(context.Context) error { return os.Remove(path) }}), nil
}

func loaded(a Agent) bool { return exec.Command("launchctl", "print", target(a)).Run() == nil }

// Start starts a now.
func Start(a Agent) []Step { return []Step{launchctl("bootstrap", "system", jobPath(a))} }

// Stop stops a.
func Stop(a Agent) []Step { return []Step{launchctl("bootout", target(a))} }

// Restart stops a and starts it.
func Restart(a Agent) []Step { return []Step{launchctl("kickstart", "-k", target(a))} }

// Status prints what the service manager knows; the error says that a does not run.
func Status(ctx context.Context, a Agent, out io.Writer) error {
	return show(ctx, a, out, "launchctl", "print", target(a))
}

func launchctl(args ...string) Step { return run("launchctl", args...) }

func installed(program string) ([]string, error) {
	return named(daemons, label(Agent{Program: program}), ".plist")
}
