package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// turnedDown are settings that were not taken.
type turnedDown struct {
	file  config.PluginFile
	err   error
	again bool // they may be taken later without having changed
}

// followSettings reads the files of the configuration directory and takes what changed.
// Of a file that cannot be taken, what it said before holds; what is new and does not
// fit is taken, and its monitor says why it does not run.
func (p *Plugins) followSettings(ctx context.Context, again bool) {
	files, mistakes := config.LoadPluginFiles(p.rt.Config().Plugins.ConfigDir)
	p.mu.RLock()
	before := slices.Clone(p.settings)
	p.mu.RUnlock()
	if len(mistakes) > 0 && !errors.As(mistakes[0], new(*config.FileError)) { // the directory cannot be read
		p.tellMistakes(mistakes)
		return
	}
	was := func(file string) *config.PluginFile {
		i := slices.IndexFunc(before, func(f config.PluginFile) bool { return f.File == file })
		if i < 0 {
			return nil
		}
		return &before[i]
	}
	var next []config.PluginFile
	turned := map[string]turnedDown{}
	for _, f := range files {
		old := was(f.File)
		if old != nil && !reflect.DeepEqual(*old, f) {
			if t := p.weigh(ctx, f, again); t.err != nil && ctx.Err() == nil {
				turned[f.File] = t
				mistakes = append(mistakes, fmt.Errorf("%w; what %s said before holds", t.err, f.File))
				f = *old
			}
		}
		next = append(next, f)
	}
	for _, mistake := range mistakes {
		var of *config.FileError
		if !errors.As(mistake, &of) {
			continue
		}
		if old := was(of.File); old != nil && !slices.ContainsFunc(next, func(f config.PluginFile) bool { return f.Name == old.Name }) {
			next = append(next, *old)
		}
	}
	slices.SortFunc(next, func(a, b config.PluginFile) int { return cmp.Compare(a.File, b.File) })
	p.turnedDown = turned
	p.setSettings(before, next)
	p.tellMistakes(mistakes)
}

// weigh finds out whether changed settings can be used with the plugin that they name.
func (p *Plugins) weigh(ctx context.Context, f config.PluginFile, again bool) turnedDown {
	if t, known := p.turnedDown[f.File]; known && reflect.DeepEqual(t.file, f) && !(again && t.again) {
		return t
	}
	m, release, err := p.Acquire(f.Plugin)
	if err != nil || !f.Enabled {
		return turnedDown{} // nobody runs it; its monitor says why
	}
	defer release()
	_, _, err = configuration(m, f)
	if err == nil && m.Runtime.Contract == plugin.Stdio {
		err = p.tryWith(ctx, m, f)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", f.File, err)
	}
	return turnedDown{f, err, mayGoBetter(err)}
}

func (p *Plugins) setSettings(before, next []config.PluginFile) {
	if reflect.DeepEqual(before, next) {
		return
	}
	p.mu.Lock()
	p.settings = next
	p.notify()
	p.mu.Unlock()
	touched := map[api.PluginID]bool{}
	for _, f := range append(slices.Clone(before), next...) {
		if !slices.ContainsFunc(before, func(o config.PluginFile) bool { return reflect.DeepEqual(o, f) }) ||
			!slices.ContainsFunc(next, func(o config.PluginFile) bool { return reflect.DeepEqual(o, f) }) {
			touched[f.Plugin] = true
		}
	}
	for id := range touched {
		p.pool.Drop(id, "")
	}
}

// conditionSettings holds while a file of the configuration directory is not in force.
const conditionSettings = "plugin_configuration"

func (p *Plugins) tellMistakes(mistakes []error) {
	if len(mistakes) == 0 {
		p.rt.Health.Clear(conditionSettings)
		p.told.Delete(conditionSettings)
		return
	}
	err := errors.Join(mistakes...)
	p.rt.Health.Set(conditionSettings, Degraded, false, err.Error(), "correct the files: a change is noticed by itself")
	if before, told := p.told.Swap(conditionSettings, err.Error()); !told || before != err.Error() {
		p.rt.Log.Warn("plugin configuration refused", telemetry.KeyError, err)
		p.rt.BeatSoon()
	}
}
