package pyenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// settleTime is how long an environment stays that was given to somebody: who prepared
// a plugin may not have said yet that it is in use.
const settleTime = 10 * time.Minute

// Collect removes the environments that are not in use, of which keys are given, and
// were not given to anybody lately.
func (b *Builder) Collect(inUse []string) error {
	entries, err := os.ReadDir(b.o.Dir)
	if err != nil {
		return fmt.Errorf("collect environments: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != keyLength || asideName(e.Name()) || slices.Contains(inUse, e.Name()) {
			continue
		}
		errs = append(errs, b.collect(e.Name()))
	}
	return errors.Join(errs...)
}

// collect removes one environment unless somebody builds it or has just got it.
func (b *Builder) collect(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.building[key] != nil || time.Since(b.given[key]) < settleTime {
		return nil
	}
	for of, i := range b.prepared {
		if i.Environment == key {
			delete(b.prepared, of)
		}
	}
	delete(b.checked, key)
	delete(b.given, key)
	return b.remove(key)
}

// Forget drops what is remembered of a plugin that is no longer installed.
func (b *Builder) Forget(p *plugin.Plugin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.prepared, memory(p))
}

// sweep removes what builds left that were not ended in order.
func (b *Builder) sweep() error {
	entries, err := os.ReadDir(b.o.Dir)
	if err != nil {
		return fmt.Errorf("sweep environments: %w", err)
	}
	for _, e := range entries {
		if asideName(e.Name()) {
			err = errors.Join(err, b.remove(e.Name()))
		}
	}
	return err
}

// remove takes an environment away, also where a build took the permission to do so off
// one of its directories.
func (b *Builder) remove(name string) error {
	root, err := os.OpenRoot(b.o.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err = root.RemoveAll(name); err == nil {
		return nil
	}
	unlocked := fs.WalkDir(root.FS(), name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return root.Chmod(path, 0o700)
	})
	if unlocked == nil {
		err = root.RemoveAll(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(b.o.Dir, name), err)
	}
	return nil
}
