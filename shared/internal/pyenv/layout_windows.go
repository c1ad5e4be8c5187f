package pyenv

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stavily/agents/internal/limits"
)

// Where an environment has its interpreter and its scripts.
const (
	interpreterIn = "Scripts/python.exe"
	scriptsIn     = "Scripts"
)

// lay has Python make an empty environment: its interpreter there is a program of its
// own that starts the real one.
func lay(ctx context.Context, dir string, base Interpreter, system bool) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	args := []string{"-I", "-S", "-m", "venv", "--without-pip"}
	if system {
		args = append(args, "--system-site-packages")
	}
	said := limits.NewBuffer(maxSaid)
	cmd := exec.CommandContext(ctx, base.Base, append(args, dir)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s -m venv: %w: %.300s", base.Base, err, said.Bytes())
	}
	return adopt(filepath.Join(dir, filepath.FromSlash(base.Packages)), base, system)
}

func give(string, uint32, uint32) error { return nil } // plugins are the agent's own user

func take(*os.Root, string) error { return nil }

func links(fs.FileInfo) uint64 { return 1 }
