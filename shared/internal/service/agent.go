package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/stavily/agents/internal/limits"
)

// Agent is one agent as its host's service manager sees it. All paths are absolute.
type Agent struct {
	Program string   // sensor-agent or action-agent
	Type    string   // sensor or action
	ID      string   // valid as [api.AgentID]
	Binary  string   // the program's file
	Base    string   // the base directory
	Config  string   // the configuration file; it may not exist yet
	First   []byte   // what Config becomes when it does not exist
	User    string   // whom it runs as
	Write   []string // what else plugins may be allowed to change; may be missing on the host
	Replace bool     // a unit of that name that we did not write is replaced
}

// Name is the unit's, and the service's.
func (a Agent) Name() string { return a.Program + "-" + a.ID }

// Home is the account's home directory, where base directories stand by default (R128).
const Home = "/var/lib/stavily"

// ErrNotPossible marks what this host, or this user on it, cannot do.
var ErrNotPossible = errors.New("not possible here")

// Step is one thing that is done to the host.
type Step struct {
	Says string // what, in the imperative, with its objects
	Do   func(ctx context.Context) error
}

// Apply does the steps in order and says each when it is done; a dry run only says them.
func Apply(ctx context.Context, steps []Step, dry bool, out io.Writer) error {
	for _, s := range steps {
		if dry {
			fmt.Fprintln(out, "would", s.Says)
			continue
		}
		if err := s.Do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.Says, err)
		}
		fmt.Fprintln(out, "done:", s.Says)
	}
	return nil
}

// maxSaid is what an error repeats of a program's output.
const maxSaid = 4 << 10

// command is a step that runs a program of the host.
func command(name string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		said := limits.NewBuffer(maxSaid)
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
		}
		return nil
	}
}

// run is the step that says that it runs a program of the host, and does.
func run(name string, args ...string) Step {
	return Step{"run " + name + " " + strings.Join(args, " "), command(name, args...)}
}

// show prints what the service manager says of a; the error says that a does not run.
func show(ctx context.Context, a Agent, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s does not run: %w", a.Name(), err)
	}
	return nil
}

// hidden are the directories that the unit does not show to the agent.
var hidden = []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"}

// check refuses what a unit cannot say, and what the agent could not reach in it.
func (a Agent) check() error {
	for what, path := range map[string]string{"program": a.Binary, "base directory": a.Base, "configuration": a.Config} {
		if err := checkPath(what, path); err != nil {
			return err
		}
		for _, dir := range hidden {
			if path == dir || strings.HasPrefix(path, dir+"/") {
				return fmt.Errorf("%w: the %s %s is below %s, which services do not see (ProtectHome=, PrivateTmp=): move it, for example to %s",
					ErrNotPossible, what, path, dir, map[bool]string{true: "/usr/local/bin", false: Home}[path == a.Binary])
			}
		}
	}
	if dir := a.Base; filepath.Dir(dir) == dir || filepath.Dir(dir) == string(filepath.Separator) {
		return fmt.Errorf("%w: the base directory %s would be given to %s whole: choose one that is the agent's alone, for example %s", ErrNotPossible, dir, a.User, filepath.Join(Home, "agent-"+a.ID))
	}
	for _, path := range a.Write {
		if err := checkPath("path to write", path); err != nil {
			return err
		}
	}
	if a.User == "root" {
		return fmt.Errorf("%w: an agent runs as a user of its own, not as root", ErrNotPossible)
	}
	if a.User == "" || strings.ContainsFunc(a.User, func(r rune) bool {
		return r != '-' && r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}) {
		return fmt.Errorf("%w: user %q: must be letters, digits, '-' and '_'", ErrNotPossible, a.User)
	}
	return nil
}

func checkPath(what, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%w: the %s %q is no absolute path", ErrNotPossible, what, path)
	}
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) && r != ' ' || strings.ContainsRune(`"'\$@`, r)
	}
	if filepath.Separator == '/' && strings.ContainsFunc(path, bad) {
		return fmt.Errorf("%w: the %s %q has a character that a unit cannot hold: use letters, digits and ordinary punctuation", ErrNotPossible, what, path)
	}
	return nil
}

// Installed are the ids of the agents of a program that are services of this host.
func Installed(program string) ([]string, error) {
	ids, err := installed(program)
	slices.Sort(ids)
	return ids, err
}
