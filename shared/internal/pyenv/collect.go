package pyenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stavily/agents/internal/removal"
)

// keepUnused is how long an environment stays that nobody has asked for: a version of a
// plugin that people may go back to, perhaps without an index at hand, has its own.
const keepUnused = 7 * 24 * time.Hour

// Collect removes the environments that are not in use, of which keys are given, and that
// nobody has asked for in a week.
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

// collect removes one environment unless somebody builds it or asked for it lately.
func (b *Builder) collect(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Stat(filepath.Join(b.o.Dir, key, recordName))
	if b.building[key] != nil || err == nil && time.Since(info.ModTime()) < keepUnused {
		return nil
	}
	for id, p := range b.prepared {
		if p.Environment == key {
			delete(b.prepared, id)
		}
	}
	delete(b.checked, key)
	return b.remove(key)
}

// used notes that somebody asked for an environment.
func (b *Builder) used(key string) {
	now := time.Now()
	if err := os.Chtimes(filepath.Join(b.o.Dir, key, recordName), now, now); err != nil {
		b.o.Log.Warn("an environment may be collected early", "environment", key, "error", err)
	}
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

func (b *Builder) remove(name string) error {
	if err := removal.Of(filepath.Join(b.o.Dir, name)); err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(b.o.Dir, name), err)
	}
	return nil
}
