package pyenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// Interpreters are the Pythons of this host. Each is asked once who it is, and only
// when a plugin needs it. They may be used concurrently.
type Interpreters struct {
	preferred string
	others    []string

	mu    sync.Mutex // guards the fields below
	first *Interpreter
	found []Interpreter // all of them, once they were looked for
	tried bool
}

// versionedNames are looked for in PATH where the owner names no others.
var versionedNames = []string{
	"python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python3.9", "python3.8", "/usr/bin/python3",
}

// NewInterpreters names them: the one that is taken where it fits, as [ResolvePython]
// takes it, and others for plugins that it does not fit. Without others the usual
// names are tried.
func NewInterpreters(preferred string, others []string) *Interpreters {
	if len(others) == 0 {
		others = versionedNames
	}
	return &Interpreters{preferred: preferred, others: others}
}

// First is the preferred one.
func (s *Interpreters) First(ctx context.Context) (Interpreter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.preferredOne(ctx)
}

func (s *Interpreters) preferredOne(ctx context.Context) (Interpreter, error) {
	if s.first != nil {
		return *s.first, nil
	}
	i, err := ResolvePython(ctx, s.preferred)
	if err == nil {
		s.first = &i
	}
	return i, err
}

// For is the best for a plugin: the preferred one where its runtime.version accepts it,
// else the newest that it accepts.
func (s *Interpreters) For(ctx context.Context, r plugin.Runtime) (Interpreter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, missing := s.preferredOne(ctx)
	if missing == nil {
		if ok, err := r.Accepts(first.Version); ok || err != nil {
			return first, err
		}
	}
	s.lookForOthers(ctx)
	for _, i := range s.found {
		if ok, err := r.Accepts(i.Version); ok || err != nil {
			return i, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Interpreter{}, err
	}
	if len(s.found) == 0 && missing != nil {
		return Interpreter{}, fmt.Errorf("needs Python, and there is none: %w", missing)
	}
	return Interpreter{}, s.unfit(r, first)
}

func (s *Interpreters) unfit(r plugin.Runtime, first Interpreter) error {
	var here []string
	for _, i := range append([]Interpreter{first}, s.found...) {
		text := fmt.Sprintf("%s (%s)", i.Version, i.Path)
		if i.Path != "" && !slices.Contains(here, text) {
			here = append(here, text)
		}
	}
	return fmt.Errorf("needs Python %s: here is %s; install one that fits, or name it in plugins.python.interpreters", r.Version, strings.Join(here, ", "))
}

// lookForOthers asks all others, once. Those that do not answer are none; that a
// search was interrupted is no reason not to look again.
func (s *Interpreters) lookForOthers(ctx context.Context) {
	if s.tried {
		return
	}
	for _, name := range s.others {
		i, err := ask(ctx, name)
		if err != nil && ctx.Err() != nil {
			s.found = nil
			return
		}
		if err == nil && !slices.ContainsFunc(s.found, func(o Interpreter) bool { return o.Path == i.Path }) {
			s.found = append(s.found, i)
		}
	}
	slices.SortStableFunc(s.found, func(a, b Interpreter) int { return -compareVersions(a.Version, b.Version) })
	s.tried = true
}

func compareVersions(a, b string) int {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errors.Join(errA, errB) != nil {
		return cmp.Compare(a, b)
	}
	return va.Compare(vb)
}
