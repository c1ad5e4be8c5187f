package pyenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Interpreter is a Python that was asked who it is.
type Interpreter struct {
	Path    string   // sys.executable: the real one, not a shim before it
	Version string   // for example 3.11.7
	Prefix  []string // directories that hold it and its library, without symbolic links
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
const whoAmI = `import json, os, sys
places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.__file__), os.path.dirname(os.path.realpath(sys.executable))]
print(json.dumps({"path": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sorted(set(map(os.path.realpath, places)))}))`

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
	var i struct {
		Path, Version string
		Prefix        []string
	}
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
	return Interpreter(i), nil
}
