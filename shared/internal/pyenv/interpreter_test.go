package pyenv

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolvePython(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the fakes are shell scripts")
	}
	real, err := ResolvePython(t.Context(), "")
	if err != nil {
		t.Skip("no Python here: ", err)
	}
	if !filepath.IsAbs(real.Path) || !strings.HasPrefix(real.Version, "3.") {
		t.Errorf("resolved %+v", real)
	}
	fake := func(text string) string {
		path := filepath.Join(t.TempDir(), "python3")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// A shim runs the real one, and is left out from then on.
	if got, err := ResolvePython(t.Context(), fake(`exec "`+real.Path+`" "$@"`)); err != nil || !cmp.Equal(got, real) {
		t.Errorf("through a shim: %+v, %v; want %+v", got, err, real)
	}
	for text, want := range map[string]string{
		`echo hello`:                                    "is not Python: it answered",
		`echo broken >&2; exit 3`:                       "does not run: exit status 3: broken",
		`echo '{"path": "/p", "version": "3.6.9"}'`:     "is Python 3.6.9, too old",
		`echo '{"path": "python", "version": "3.9.9"}'`: "is not Python",
	} {
		if got, err := ResolvePython(t.Context(), fake(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugins.python.interpreter") {
			t.Errorf("%s: %+v, %v; want %s", text, got, err, want)
		}
	}
	if _, err := ResolvePython(t.Context(), "/no/such/python"); err == nil {
		t.Error("a missing interpreter was found")
	}
}
