//go:build unix

package pyenv

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Where an environment has its interpreter and its scripts.
const (
	interpreterIn = "bin/python"
	scriptsIn     = "bin"
)

// lay makes an empty environment as PEP 405 describes it. It is what venv makes, without
// scripts that activate it, and without the 150 ms that Python takes for it.
func lay(_ context.Context, dir string, base Interpreter, system bool) error {
	packages := filepath.Join(dir, filepath.FromSlash(base.Packages))
	for _, path := range []string{packages, filepath.Join(dir, scriptsIn)} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{interpreterIn: base.Base, "bin/python3": "python", "lib64": "lib"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	config := fmt.Sprintf("home = %s\ninclude-system-site-packages = %t\nversion = %s\n", filepath.Dir(base.Base), system, base.Version)
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(config), 0o644); err != nil {
		return err
	}
	return adopt(packages, base, system)
}

// give makes a directory tree somebody's.
func give(dir string, uid, gid uint32) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(uid), int(gid))
	})
}

// take makes one entry the agent's, where it may be somebody else's.
func take(root *os.Root, name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return root.Lchown(name, os.Geteuid(), os.Getegid())
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}
