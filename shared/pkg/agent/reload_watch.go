package agent

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

const (
	// quiet is how long nothing may have changed before a change is looked at: editors and
	// cp write several files. A directory that never is quiet is looked at all the same.
	quiet     = 100 * time.Millisecond
	quietMost = 2 * time.Second
	// pollEvery finds changes on file systems that do not tell of them, and tries again
	// what may go better by itself.
	pollEvery = 15 * time.Second
	// maxWatched bounds the directories that are watched; the poll finds the rest.
	maxWatched = 2000
)

// watch takes changes of the directories that people edit, and of the configuration
// directory, as they come.
func (p *Plugins) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		p.rt.Log.Warn("changes of plugins are noticed late", "within", p.looks, telemetry.KeyError, err)
		return p.poll(ctx, nil, nil, nil)
	}
	defer w.Close()
	return p.poll(ctx, w, w.Events, w.Errors)
}

func (p *Plugins) poll(ctx context.Context, w *fsnotify.Watcher, events <-chan fsnotify.Event, errs <-chan error) error {
	tick := time.NewTicker(p.looks)
	defer tick.Stop()
	look := time.NewTimer(0) // what changed since the agent looked at its start
	defer look.Stop()
	var first time.Time // of the changes that were not looked at
	for {
		again := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if !p.counts(e) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			if time.Since(first) < quietMost {
				look.Reset(quiet)
			}
			continue
		case err := <-errs: // events were lost, or a directory cannot be watched
			p.rt.Log.Debug("watching plugins", telemetry.KeyError, err)
			look.Reset(quiet)
			continue
		case <-look.C:
		case <-p.lookAgain:
		case <-tick.C:
			again = true
			p.followInstalled(p.life)
		}
		first = time.Time{}
		p.watchDirectories(w)
		p.followSettings(ctx, again)
		if err := p.followDirectories(p.life, again); err != nil && ctx.Err() == nil {
			p.rt.Health.Set("plugins_dir", Degraded, false, err.Error(), "what was there before is still used; make plugins.dir readable")
		} else {
			p.rt.Health.Clear("plugins_dir")
		}
	}
}

// counts reports whether an event can be one of what people edit.
func (p *Plugins) counts(e fsnotify.Event) bool {
	name := filepath.Base(e.Name)
	// Not the store's own, nor what editors write beside a file.
	return !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~") && name != "__pycache__"
}

// watchDirectories watches what there is now.
func (p *Plugins) watchDirectories(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	wanted := p.watchable()
	watched := w.WatchList()
	for _, dir := range wanted {
		if !slices.Contains(watched, dir) {
			if err := w.Add(dir); err != nil {
				p.rt.Log.Debug("changes are noticed late", "directory", dir, telemetry.KeyError, err)
			}
		}
	}
	for _, dir := range watched {
		if !slices.Contains(wanted, dir) {
			_ = w.Remove(dir) // it is gone, and with it the watch
		}
	}
}

// watchable are the directories in which a change may matter.
func (p *Plugins) watchable() []string {
	cfg := p.rt.Config().Plugins
	out := []string{cfg.ConfigDir, cfg.Dir}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return out
	}
	for _, e := range entries {
		dir := filepath.Join(cfg.Dir, e.Name())
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		out = append(out, dir)
		if _, err := os.Stat(filepath.Join(dir, plugin.ManifestName)); err != nil {
			continue // the store's, or one that is being filled
		}
		out = append(out, below(dir, maxWatched-len(out))...)
	}
	return out
}

// below lists at most most directories in dir that count.
func below(dir string, most int) []string {
	var out []string
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error { // what cannot be listed is not watched
		switch {
		case err != nil || len(out) >= most:
			return fs.SkipDir
		case !d.IsDir() || name == ".":
			return nil
		case d.Name() == ".git" || d.Name() == "__pycache__" || d.Name() == ".venv":
			return fs.SkipDir
		}
		out = append(out, filepath.Join(dir, name))
		return nil
	})
	return out
}
