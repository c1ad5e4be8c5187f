package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/internal/pyenv"
)

func TestTheSDKIsUnpackedOnce(t *testing.T) {
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := unpackSDK(ctx, cache, python); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end of the agent: %v, want context.Canceled", err)
	}
	if left := names(t, cache); len(left) != 0 {
		t.Errorf("an interrupted unpacking left %q", left)
	}
	dir, err := unpackSDK(t.Context(), cache, python)
	if err != nil {
		t.Fatal(err)
	}
	// -B: what Python needs to start quickly is there, and nothing is written.
	cmd := exec.Command(python.Path, "-B", "-c", "import stavily; print(stavily.__version__, end='')")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	if err := cmd.Run(); err != nil {
		t.Errorf("import stavily: %v", err)
	}
	if compiled := names(t, filepath.Join(dir, "stavily", "__pycache__")); len(compiled) == 0 {
		t.Error("there is no byte code")
	}
	before, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	again, err := unpackSDK(t.Context(), cache, pyenv.Interpreter{Path: "/not/there"}) // not asked any more
	if err != nil || again != dir {
		t.Errorf("the second time: %s, %v, want %s", again, err, dir)
	}
	after, err := os.Stat(filepath.Dir(dir))
	if err != nil || !os.SameFile(before, after) || len(names(t, cache)) != 1 {
		t.Errorf("it was unpacked twice: %v, %q", err, names(t, cache))
	}
}

// Agents that share a cache may all find it empty.
func TestTheSDKIsUnpackedByManyAtOnce(t *testing.T) {
	cache := t.TempDir()
	group, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		group.Go(func() error {
			dir, err := unpackSDK(ctx, cache, pyenv.Interpreter{})
			if err != nil {
				return err
			}
			_, err = os.Stat(filepath.Join(dir, "stavily", "__init__.py"))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if left := names(t, cache); len(left) != 1 {
		t.Errorf("left %q", left)
	}
}

// Without Python the files are there all the same: it may be installed later.
func TestTheSDKWithoutPython(t *testing.T) {
	dir, err := unpackSDK(t.Context(), t.TempDir(), pyenv.Interpreter{})
	if err != nil {
		t.Fatal(err)
	}
	read(t, filepath.Join(dir, "stavily", "__init__.py"))
	if _, err := unpackSDK(t.Context(), filepath.Join(dir, "no", "cache"), pyenv.Interpreter{}); err == nil {
		t.Error("no error without a place to unpack to")
	}
}
