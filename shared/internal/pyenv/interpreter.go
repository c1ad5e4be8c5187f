package pyenv

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Interpreter is a Python that was asked who it is, or the one of an environment.
type Interpreter struct {
	Path    string   // sys.executable: the real one, not a shim before it
	Version string   // for example 3.11.7
	Prefix  []string // directories that hold it and its library, without symbolic links

	Base     string   // the program behind it where it is a virtual environment's, else the same
	Packages string   // where an environment of it has its packages, below the environment
	Site     []string // where the system has its packages
	Parent   string   // the packages of the virtual environment that it is of, or empty

	Environment string // key of the environment that it belongs to, empty for the host's own
}

// pythonNames are tried, in this order, where none is configured.
var pythonNames = []string{"python3", "python", "/usr/bin/python3"}

// minPython is the oldest that the SDK runs on.
var minPython = plugin.Runtime{Version: "3.8+"}

const (
	// A cold start from a network disk takes seconds; more is a program that is not
	// Python.
	askLimit = 20 * time.Second
	maxSaid  = 64 << 10
)

// whoAmI prints what Interpreter holds. -I and -S keep the user's files out of it.
//
//go:embed whoami.py
var whoAmI string

// ResolvePython finds the interpreter that runs Python plugins. configured is a
// name in PATH or an absolute path; empty tries the usual names. Shims, such as
// pyenv's, cost 100 ms at every start: the program that they lead to is what is
// returned. The error says what was tried and what to do.
func ResolvePython(ctx context.Context, configured string) (Interpreter, error) {
	candidates := pythonNames
	if configured != "" {
		candidates = []string{configured}
	}
	var errs []error
	for _, name := range candidates {
		i, err := ask(ctx, name)
		if err == nil {
			return i, nil
		}
		errs = append(errs, err)
	}
	return Interpreter{}, fmt.Errorf("find Python: %w; install Python 3.8 or newer, or set plugins.python.interpreter", errors.Join(errs...))
}

func ask(ctx context.Context, name string) (Interpreter, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Interpreter{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	said, complaint := limits.NewBuffer(maxSaid), limits.NewBuffer(maxSaid)
	cmd := exec.CommandContext(ctx, path, "-I", "-S", "-c", whoAmI)
	cmd.Stdout, cmd.Stderr = said, complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return Interpreter{}, fmt.Errorf("%s does not run: %w: %.200s", path, err, complaint.Bytes())
	}
	var i Interpreter
	if err := json.Unmarshal(said.Bytes(), &i); err != nil || !filepath.IsAbs(i.Path) {
		return Interpreter{}, fmt.Errorf("%s is not Python: it answered %.100q", path, said.Bytes())
	}
	ok, err := minPython.Accepts(i.Version)
	if err != nil {
		return Interpreter{}, fmt.Errorf("%s: %w", path, err)
	}
	if !ok {
		return Interpreter{}, fmt.Errorf("%s is Python %s, too old", path, i.Version)
	}
	return i, nil
}
