package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// conditionIntegrity holds while a file that this agent runs is not what it was.
const conditionIntegrity = "integrity"

// integrity compares what this agent runs with what it was: its program with the one
// that was started, each plugin version in use with the digest that it came into use with.
type integrity struct {
	rt      *Runtime
	program string // the path
	started string // its digest at the start
	told    string
}

func (i *integrity) Run(ctx context.Context) (err error) {
	if i.program, err = os.Executable(); err == nil {
		i.started, err = fileDigest(i.program)
	}
	if err != nil {
		i.tell(fmt.Errorf("the agent's program cannot be read: %w", err))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(i.rt.Config().Security.Integrity.Interval.Duration()):
		}
		i.tell(i.compare(ctx))
	}
}

// compare gives everything that changed, one a line.
func (i *integrity) compare(ctx context.Context) error {
	var changed []error
	if now, err := fileDigest(i.program); err != nil {
		changed = append(changed, fmt.Errorf("the agent's program cannot be read: %w", err))
	} else if now != i.started {
		changed = append(changed, fmt.Errorf("%s is not the program that was started: it was %s and is %s", i.program, i.started, now))
	}
	for _, m := range i.rt.Plugins.runnable() {
		if ctx.Err() != nil {
			return nil
		}
		m, release, err := i.rt.Plugins.Acquire(m.ID)
		if err != nil {
			continue // it went out of use meanwhile
		}
		if _, err := catalog.Load(catalog.Version{ID: m.ID, Dir: m.Dir, Digest: m.Digest}); err != nil {
			changed = append(changed, err)
		}
		release()
	}
	return errors.Join(changed...)
}

// tell says each state once.
func (i *integrity) tell(changed error) {
	rt := i.rt
	if changed == nil {
		rt.Health.Clear(conditionIntegrity)
		i.told = ""
		return
	}
	rt.Health.Set(conditionIntegrity, Degraded, false, changed.Error(),
		"restart the agent if you replaced its program, install the plugin again if you changed its files; otherwise find out who did")
	if i.told == changed.Error() {
		return
	}
	i.told = changed.Error()
	rt.Log.Error("files that this agent runs were changed", telemetry.KeyError, changed)
	rt.Audit.Note(AuditFileChanged, slog.String("error", changed.Error()))
	rt.BeatSoon()
}

// runnable are the plugin versions that may run.
func (p *Plugins) runnable() []*plugin.Plugin {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []*plugin.Plugin
	for _, s := range p.slots {
		if s.current != nil {
			out = append(out, s.current)
		}
	}
	return out
}

// fileDigest is the SHA-256 of a file.
func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
