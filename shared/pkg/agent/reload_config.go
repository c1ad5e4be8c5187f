package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Conditions of the configuration.
const (
	// conditionConfiguration holds while the file says what was not taken.
	conditionConfiguration = "configuration"
	// conditionRestart holds while the file says what only a new process takes.
	conditionRestart = "restart_needed"
)

// adopter takes a configuration in two steps, so that all of them do or none: whatever
// can fail is done when it is called, and commit cannot fail. discard may be nil.
type adopter func(old, next *config.Config) (commit, discard func(), err error)

// reloads is how a running agent comes to another configuration (docs/adr/0010).
type reloads struct {
	load      loader        // reads file, variables and flags as they are now
	succeeded func(float64) // metric: 1 when the last one did
	taken     func()        // metric: one more was taken
	mu        sync.Mutex    // one at a time; guards the field below
	adopters  []*adopter    // in the order in which they came
}

// count declares the metrics of reloads.
func (r *reloads) count(m *telemetry.Registry) {
	successful := m.Gauge("config_last_reload_successful", "1 when the last reload of the configuration was taken, or none was asked for; 0 when it was refused.")
	successful.Set(1)
	r.succeeded = successful.Set
	r.taken = m.Counter("config_reloads_total", "Reloads of the configuration that were taken.").Inc
}

// Reloaded is what a reload did.
type Reloaded struct {
	File    string          `json:"file"`
	Changes []config.Change `json:"changes"` // of which those with restart are not in force
}

// whenReconfigured has f take the configuration now and at each reload, until stop.
func (rt *Runtime) whenReconfigured(f adopter) (stop func(), err error) {
	rt.reloads.mu.Lock()
	defer rt.reloads.mu.Unlock()
	commit, _, err := f(rt.Config(), rt.Config())
	if err != nil {
		return nil, err
	}
	commit()
	listed := &f
	rt.reloads.adopters = append(rt.reloads.adopters, listed)
	return func() {
		rt.reloads.mu.Lock()
		defer rt.reloads.mu.Unlock()
		rt.reloads.adopters = slices.DeleteFunc(rt.reloads.adopters, func(o *adopter) bool { return o == listed })
	}, nil
}

// immediately makes a adopter of what cannot fail.
func immediately(do func(old, next *config.Config)) adopter {
	return func(old, next *config.Config) (func(), func(), error) {
		return func() { do(old, next) }, nil, nil
	}
}

// Reload reads the configuration anew and takes it whole or not at all. by says who
// asked. After an error everything is as it was.
func (rt *Runtime) Reload(by string) (Reloaded, error) {
	rt.reloads.mu.Lock()
	defer rt.reloads.mu.Unlock()
	done, err := rt.reload(by)
	if err != nil {
		rt.reloads.succeeded(0)
		rt.Health.Set(conditionConfiguration, Degraded, false, "the configuration was not reloaded: "+err.Error(), "correct it and reload again; until then the one before is in force, until the agent is started anew")
		rt.Log.Error("configuration not reloaded: the one before stays in force", "by", by, telemetry.KeyError, err)
		rt.Audit.Note(AuditConfigurationRefused, slog.String("file", rt.file), slog.String("by", by), slog.Any("error", err))
		rt.BeatSoon()
		return done, err
	}
	rt.reloads.succeeded(1)
	rt.reloads.taken()
	rt.Health.Clear(conditionConfiguration)
	later := config.Names(done.Changes, true)
	if len(later) == 0 {
		rt.Health.Clear(conditionRestart)
	} else {
		rt.Health.Set(conditionRestart, Degraded, false, "changed, and in force only after a restart: "+strings.Join(later, ", "), "restart the agent when it suits")
	}
	rt.Log.Info("configuration reloaded", "by", by, "changed", config.Names(done.Changes, false), "needs_restart", later)
	rt.BeatSoon()
	return done, nil
}

// reload needs mu.
func (rt *Runtime) reload(by string) (Reloaded, error) {
	if rt.reloads.load == nil {
		return Reloaded{}, errors.New("this process has no configuration that could be read anew")
	}
	loaded, err := rt.reloads.load()
	if err != nil {
		return Reloaded{}, err
	}
	for _, w := range loaded.Warnings {
		rt.Log.Warn("configuration", "warning", w)
	}
	old := rt.Config()
	next, changes, err := loaded.Follow(old)
	done := Reloaded{loaded.File, changes}
	if err != nil {
		return done, errors.Join(errors.New("it does not fit what only a restart changes ("+strings.Join(config.Names(changes, true), ", ")+"); restart the agent instead"), err)
	}
	commit, discard, err := rt.prepare(old, next)
	if err == nil && len(changes) > 0 {
		err = rt.Audit.Record(AuditConfigured, slog.String("file", loaded.File), slog.String("by", by),
			slog.Any("keys", config.Names(changes, false)), slog.Any("needs_restart", config.Names(changes, true)))
	}
	if err != nil {
		discard()
		return done, err
	}
	rt.config.Store(next)
	commit()
	return done, nil
}

// prepare asks every adopter. Where one refuses discard takes back what the others did.
func (rt *Runtime) prepare(old, next *config.Config) (commit, discard func(), err error) {
	var commits, discards []func()
	discard = func() {
		for _, d := range slices.Backward(discards) {
			d()
		}
	}
	for _, f := range rt.reloads.adopters {
		c, d, err := (*f)(old, next)
		if err != nil {
			return nil, discard, err
		}
		commits = append(commits, c)
		if d != nil {
			discards = append(discards, d)
		}
	}
	return func() {
		for _, c := range commits {
			c()
		}
	}, discard, nil
}

// onHangup reloads at each SIGHUP, until ctx ends.
func (rt *Runtime) onHangup(hangup <-chan os.Signal) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
			}
			rt.tellReloading("RELOADING=1")
			_, _ = rt.Reload("signal") // who sent it reads the log or /health
			rt.tellReloading("READY=1")
		}
	}
}

func (rt *Runtime) tellReloading(state string) {
	if err := service.Notify(state); err != nil {
		rt.Log.Warn("the service manager is not told", telemetry.KeyError, err)
	}
}

// followLogging is the adopter of logging.*. The file is opened anew each time, also
// where it has the same name: somebody may have moved it away.
func (rt *Runtime) followLogging(_, next *config.Config) (commit, discard func(), err error) {
	if rt.logging == nil {
		return func() {}, nil, nil
	}
	c, err := rt.logging.Prepare(logOptions(next, rt.secrets))
	if err != nil {
		return nil, nil, err
	}
	return func() {
			if err := c.Commit(); err != nil {
				rt.Log.Warn("the log before was not closed", telemetry.KeyError, err)
			}
		}, func() {
			if err := c.Discard(); err != nil {
				rt.Log.Warn("a log that is not used was not closed", telemetry.KeyError, err)
			}
		}, nil
}

// SetLogLevel changes the level until the next reload or start.
func (rt *Runtime) SetLogLevel(level string) error {
	if rt.logging == nil {
		return errors.New("this process has no log of its own")
	}
	if err := rt.logging.SetLevel(level); err != nil {
		return err
	}
	rt.Log.Warn("log level changed until the next reload or start", "level", level)
	rt.Audit.Note(AuditConfigured, slog.String("by", "control socket"), slog.Any("keys", []string{"logging.level"}), slog.String("level", level))
	return nil
}
