//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/shared/pkg/api"
)

// What this agent runs and somebody changed is told, once in the log and the audit log,
// and no longer than it is so (R172).
func TestChangedFilesAreTold(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": script("print('{}')"), "other": script("print('{}')")})
	file := filepath.Join(t.TempDir(), "audit.log")
	h.rt.Audit = audit.Open(file, audit.Options{})
	program := filepath.Join(t.TempDir(), "agent")
	write(t, program, "what was started")
	i := &integrity{rt: h.rt, program: program}
	var err error
	if i.started, err = fileDigest(program); err != nil {
		t.Fatal(err)
	}
	held := func() string {
		i.tell(i.compare(t.Context()))
		for _, c := range h.rt.Health.Snapshot().Conditions {
			if c.Name == conditionIntegrity {
				return c.Message
			}
		}
		return ""
	}
	if got := held(); got != "" {
		t.Fatalf("nothing was changed, and it says %q", got)
	}
	m, release, err := h.Acquire("tidy")
	if err != nil {
		t.Fatal(err)
	}
	release()
	main := filepath.Join(m.Dir, "main.py")
	before := read(t, main)
	info, err := os.Stat(main)
	if err != nil {
		t.Fatal(err)
	}
	loosen(t, m.Dir, main)
	write(t, main, before+"import os\n")
	for range 2 {
		if got := held(); !strings.Contains(got, "the files in "+m.Dir+" are not what was installed there") || strings.Contains(got, program) || strings.Contains(got, "other") {
			t.Errorf("a changed plugin: %q", got)
		}
	}
	if n := strings.Count(read(t, file), string(AuditFileChanged)); n != 1 {
		t.Errorf("it is recorded %d times, want once: %s", n, read(t, file))
	}
	write(t, main, before)
	if err := os.Chmod(main, info.Mode()); err != nil {
		t.Fatal(err)
	}
	if got := held(); got != "" {
		t.Errorf("the files are as they were, and it says %q", got)
	}
	write(t, program, "what somebody put there")
	if got := held(); !strings.Contains(got, program+" is not the program that was started") {
		t.Errorf("a changed program: %q", got)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if got := held(); !strings.Contains(got, "cannot be read") {
		t.Errorf("a program that is gone: %q", got)
	}
}

// loosen undoes the protection of a version's files, as its user can.
func loosen(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Chmod(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
