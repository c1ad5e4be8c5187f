package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
	python "github.com/stavily/agents/sdk/python"
	"github.com/stavily/agents/shared/internal/pyenv"
)

// unpackSDK puts the Python package that this binary carries where plugins find it,
// and returns the directory for PYTHONPATH. The place is named for the content, so
// that versions never mix and the work is done once.
func unpackSDK(ctx context.Context, cache string, interpreter pyenv.Interpreter) (string, error) {
	digest, err := digestOf(python.Source)
	if err != nil {
		return "", fmt.Errorf("read the Python SDK: %w", err)
	}
	dir := filepath.Join(cache, "sdk-"+digest[:12])
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, "src"), nil
	}
	aside, err := os.MkdirTemp(cache, ".sdk-")
	if err != nil {
		return "", fmt.Errorf("unpack the Python SDK: %w", err)
	}
	defer os.RemoveAll(aside) // nothing is left to remove where all went well
	if err := os.CopyFS(aside, python.Source); err != nil {
		return "", fmt.Errorf("unpack the Python SDK: %w", err)
	}
	if err := compile(ctx, interpreter, aside); err != nil {
		return "", err
	}
	if err := os.Rename(aside, dir); err != nil && !errors.Is(err, fs.ErrExist) { // somebody else has put the same there
		return "", fmt.Errorf("unpack the Python SDK: %w", err)
	}
	return filepath.Join(dir, "src"), nil
}

func digestOf(tree fs.FS) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// compileLimit is far above the second that a dozen small files take on a slow host.
const compileLimit = time.Minute

// compile makes the byte code that plugins, which may not write here, would
// otherwise make again at each start (about 20 ms). Without an interpreter there is
// nothing to do it with, and nobody to need it.
func compile(ctx context.Context, interpreter pyenv.Interpreter, dir string) error {
	if interpreter.Path == "" {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, compileLimit)
	defer cancel()
	said := limits.NewBuffer(4 << 10)
	// Unchecked: the place is named for the content, so the sources cannot change.
	cmd := exec.CommandContext(limited, interpreter.Path, "-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", dir)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil { // the agent ends: its signal, not a failure
			return ctx.Err()
		}
		return fmt.Errorf("compile the Python SDK: %w: %s", err, said.Bytes())
	}
	return nil
}
