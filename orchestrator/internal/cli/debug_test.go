package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

// A profile lands in a file that only its owner reads, and what cannot be taken leaves none.
func TestDebugProfile(t *testing.T) {
	s := servertest.Start(t)
	file := filepath.Join(t.TempDir(), "heap.pprof")
	code, stdout, stderr := run(t, "--data-dir", s.DataDir, "debug", "profile", "heap", "--file", file)
	info, err := os.Stat(file)
	if code != exitOK || err != nil || info.Size() == 0 || info.Mode().Perm()&0o077 != 0 || !strings.Contains(stdout, "go tool pprof -top "+file) {
		t.Fatalf("exit %d, %v, %v:\n%s%s", code, info, err, stdout, stderr)
	}
	none := filepath.Join(t.TempDir(), "none")
	if code, _, stderr := run(t, "--data-dir", s.DataDir, "debug", "profile", "trace", "--for", "6s", "--file", none); code != exitFailed || !strings.Contains(stderr, "from 1 to 5") {
		t.Errorf("a trace of 6 s: exit %d: %s", code, stderr)
	}
	if code, _, stderr := run(t, "--data-dir", s.DataDir, "debug", "profile", "cmdline"); code != exitUsage || !strings.Contains(stderr, "goroutine") {
		t.Errorf("no such profile: exit %d: %s", code, stderr)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("there is a file of what was refused")
	}
}
