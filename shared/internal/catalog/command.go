package catalog

import (
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// interpreterOf finds what runs a plugin that is not Python; an executable runs
// itself.
func interpreterOf(runtime string) (string, error) {
	if runtime == plugin.Executable {
		return "", nil
	}
	path, err := exec.LookPath(runtime)
	if err != nil {
		return "", fmt.Errorf("needs %s, which is not in PATH: install it", runtime)
	}
	return filepath.Abs(path)
}

// Command is the program and argv that run a plugin: the interpreter, where there
// is one, and the entry point.
func Command(p *plugin.Plugin, python pyenv.Interpreter) (path string, args []string, err error) {
	entry := filepath.Join(p.Dir, filepath.FromSlash(p.Runtime.EntryPoint))
	path = python.Path
	if p.Runtime.Type != plugin.Python {
		if path, err = interpreterOf(p.Runtime.Type); err != nil {
			return "", nil, fmt.Errorf("plugin %s: %w", p.ID, err)
		}
	}
	if path == "" {
		return entry, []string{entry}, nil
	}
	return path, []string{path, entry}, nil
}
