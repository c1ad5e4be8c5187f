package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/sealed"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// Runtime is what a role's components stand on. Its fields are set before they
// start and never change; all of it may be used concurrently. The configuration does
// change while the agent runs: who needs two values that belong together asks once.
type Runtime struct {
	Role    Role
	Log     *slog.Logger
	Health  *Health
	Metrics *telemetry.Registry
	Trace   *trace.Tracer // nil: tracing is off
	API     *api.Client
	Plugins *Plugins
	Audit   *AuditLog // nil takes every record and keeps none
	BootID  string    // made anew at each start: tells one life of the agent from the next

	config   atomic.Pointer[config.Config] // never changed, only replaced as a whole
	reloads  reloads
	logging  *telemetry.Log // where Log goes; nil in tests
	file     string         // the configuration file, empty when there is none
	identity *pki.Credentials
	assigned *assigned
	polls    *pollWatch
	counts   *counts
	logs     *logUpload
	beatNow  chan struct{}
	advice   atomic.Pointer[advice]  // of the orchestrator about CA and certificate, not looked at yet; nil: none
	advised  chan struct{}           // has an item when there is some
	failed   chan error              // holds the first reason of Fail
	working  atomic.Bool             // identity and plugins are there
	untraced atomic.Bool             // it was told that the collector takes no spans
	heard    atomic.Int64            // when the orchestrator answered last, in nanoseconds since 1970; 0 is never
	spool    atomic.Pointer[Spool]   // of a sensor, once it is open
	journal  atomic.Pointer[Journal] // of an action agent, once it is open
	contact  atomic.Int32            // what was told of the connection last, a contact; 0 is nothing
	fullAt   atomic.Int64            // when the disk was first seen full, in nanoseconds since 1970; 0: it has room
	closers  []func() error          // what roles opened; closed when everything has ended
	monitors atomic.Pointer[func() []api.MonitorInfo]
	events   atomic.Pointer[func(context.Context, api.Event) error] // see TakeEvents
	secrets  *telemetry.Redactor                                    // what plugins must keep to themselves
	hidden   sync.Map                                               // what it knows
	sealing  *sealed.Key                                            // that secrets of instructions are sealed to; of an action agent, once it is open

	toldDenied sync.Map      // what was recorded as denied → why
	unaudited  chan struct{} // pulse: the audit log cannot be written

	now    func() time.Time // of spool and journal; nil: time.Now
	random func() float64   // see Random; nil: math/rand/v2
}

// Config is the configuration in force now; it is not to be changed.
func (rt *Runtime) Config() *config.Config { return rt.config.Load() }

// use replaces the redactor before anything runs.
func (rt *Runtime) use(secrets *telemetry.Redactor) {
	rt.secrets, rt.Health.secrets = secrets, secrets
	rt.hideIndex()
}

// run is the life of an agent from its configuration to its end.
func run(ctx context.Context, loaded *config.Loaded, load loader, role Role) (err error) {
	hangup, stop := hangups()
	defer stop()
	cfg := &loaded.Config
	release, err := openBase(cfg.Agent.BaseDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	secrets := &telemetry.Redactor{}
	log, logging, err := openLog(cfg, secrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logging.Close()) }()
	log = log.With(telemetry.KeyAgent, cfg.Agent.ID)
	for _, w := range loaded.Warnings {
		log.Warn("configuration", "warning", w)
	}
	log.Info("starting", "program", role.Program, "version", api.Version, "base_dir", cfg.Agent.BaseDir, "config", loaded.File)

	tidy(cfg.Agent.BaseDir, log)
	rt, err := newRuntime(cfg, role, log)
	if err != nil {
		return err
	}
	rt.use(secrets)
	rt.file, rt.logging, rt.reloads.load = loaded.File, logging, load
	if _, err := rt.whenReconfigured(rt.followLogging); err != nil {
		return err
	}
	rt.openTracing()
	defer rt.flushTraces(ctx)
	rt.openAudit()
	defer func() { err = errors.Join(err, rt.closeAudit()) }()
	components := append(rt.listeners(), Component{"service manager", rt.tellManager}, Component{"reload", rt.onHangup(hangup)}, Component{"agent", rt.work}, Component{"audit", rt.mendAudit}, Component{"tracing", rt.Trace.Run})
	if err := runGroup(ctx, components); err != nil {
		log.Error("stopped", telemetry.KeyError, err)
		return err
	}
	log.Info("stopped")
	return nil
}

// tidy clears up after a former process of this base directory that was killed.
func tidy(base string, log *slog.Logger) {
	// Plugins die with their agent, what they had started may not have.
	if n, err := sandbox.Keep(base); err != nil || n > 0 {
		log.Warn("ended what plugins of a former process had left running", "processes", n, telemetry.KeyError, err)
	}
	if n, err := sweepTemp(base); err != nil || n > 0 {
		log.Warn("removed what plugins of a former process had left in tmp", "directories", n, telemetry.KeyError, err)
	}
	if err := sweepResults(filepath.Join(base, "data", "cache"), "", time.Now()); err != nil {
		log.Warn("old results are not removed", telemetry.KeyError, err)
	}
}

func openLog(cfg *config.Config, secrets *telemetry.Redactor) (*slog.Logger, *telemetry.Log, error) {
	log, out, err := telemetry.NewLogger(logOptions(cfg, secrets))
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return log, out, nil
}

func logOptions(cfg *config.Config, secrets *telemetry.Redactor) telemetry.LogOptions {
	l := cfg.Logging
	return telemetry.LogOptions{
		Level: l.Level, Format: l.Format, Output: l.Output, File: l.File, Stdout: os.Stdout, Redactor: secrets,
		MaxSizeMB: l.MaxSize, MaxBackups: l.MaxBackups, MaxAgeDays: l.MaxAge, Compress: l.Compress,
	}
}

func newRuntime(cfg *config.Config, role Role, log *slog.Logger) (*Runtime, error) {
	metrics := telemetry.NewRegistry(cfg.Metrics.Namespace)
	rt := &Runtime{
		Role: role, Log: log, Metrics: metrics,
		Health: newHealth(time.Now), BootID: rand.Text(), beatNow: make(chan struct{}, 1), polls: newPollWatch(), advised: make(chan struct{}, 1), failed: make(chan error, 1), unaudited: make(chan struct{}, 1),
	}
	rt.config.Store(cfg)
	rt.use(&telemetry.Redactor{})
	rt.counts = newCounts(metrics, rt)
	rt.Health.silence, rt.Health.full = rt.silence, rt.full
	rt.reloads.count(metrics)
	rt.logs = newLogUpload(rt.counts.logsDropped.Inc, rt.Backoff())
	rt.assigned = openAssigned(rt)
	return rt, nil
}

func (rt *Runtime) listeners() []Component {
	var out []Component
	if h := rt.Config().Health; h.Enabled {
		l := &listener{name: "health", addr: hostPort(h.Bind, h.Port), handler: rt.reconfigured(func() http.Handler { return rt.healthHandler(rt.Config().Health) }), base: rt.Config().Agent.BaseDir, health: rt.Health, log: rt.Log}
		out = append(out, Component{"health endpoint", l.Run})
	}
	if m := rt.Config().Metrics; m.Enabled {
		l := &listener{name: "metrics", addr: hostPort(m.Bind, m.Port), handler: rt.reconfigured(rt.metricsHandler), base: rt.Config().Agent.BaseDir, health: rt.Health, log: rt.Log}
		out = append(out, Component{"metrics endpoint", l.Run})
	}
	return out
}

// conditionStarting keeps an agent from being ready before its components run.
const conditionStarting = "starting"

// work waits for the identity and then runs everything that needs it.
func (rt *Runtime) work(ctx context.Context) (err error) {
	rt.Health.Set(conditionStarting, Degraded, true, "the agent is starting", "wait a moment")
	if rt.identity, err = rt.awaitIdentity(ctx); err != nil {
		return err
	}
	if err := rt.auditIdentity(ctx, rt.identity); err != nil {
		return err
	}
	if rt.API, err = rt.connect(rt.identity); err != nil {
		return err
	}
	defer rt.API.CloseIdle()
	if rt.Plugins, err = openPlugins(ctx, rt); err != nil {
		return err
	}
	defer rt.Plugins.close()
	for _, f := range []adopter{rt.Plugins.reconfigure, immediately(func(_, next *config.Config) { rt.tune(next.API) })} {
		stop, err := rt.whenReconfigured(f)
		if err != nil {
			return err
		}
		defer stop()
	}
	defer func() { err = errors.Join(err, rt.closeRole()) }()
	rt.working.Store(true)
	role, err := rt.Role.Components(rt)
	if err != nil {
		return err
	}
	rt.Health.Clear(conditionStarting)
	if rt.Config().Security.Integrity.Enabled {
		role = append(role, Component{"file integrity", (&integrity{rt: rt}).Run})
	}
	return runGroup(ctx, append(role,
		Component{"heartbeat", rt.heartbeat},
		rt.keepIdentity(),
		Component{"assignments", rt.followAssignments},
		Component{"storage", rt.untilFailed},
		Component{"memory", settle},
		Component{"warm plugins", rt.Plugins.pool.Run},
		Component{"new plugin versions", rt.Plugins.watchTrials},
		Component{"plugin changes", rt.Plugins.watch},
		Component{"control socket", rt.control},
		Component{"plugin logs", func(ctx context.Context) error { return rt.logs.run(ctx, rt.sendLogs) }},
	))
}

func (rt *Runtime) closeRole() (err error) {
	for _, c := range rt.closers {
		err = errors.Join(err, c())
	}
	return err
}

// Fail ends the agent with an error: for what only a new process can recover from, such
// as a log on disk in an unknown state. The service manager starts it again.
func (rt *Runtime) Fail(err error) {
	select {
	case rt.failed <- err:
	default: // it is ending already
	}
}

func (rt *Runtime) untilFailed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-rt.failed:
		return err
	}
}

func (rt *Runtime) connect(creds *pki.Credentials) (*api.Client, error) {
	c := rt.Config().API
	var token func() string
	if creds.Bearer() != "" {
		token = creds.Bearer
	}
	return api.NewClient(api.ClientOptions{
		Token:   token,
		BaseURL: c.BaseURL, TLS: creds.ClientTLS(rt.tlsOptions()), Agent: rt.Config().Agent.ID,
		Timeout: c.Timeout.Duration(), UserAgent: userAgent(rt.Role),
		RequestsPerSecond: c.RateLimit.RequestsPerSecond, Burst: c.RateLimit.Burst,
		Observe: rt.counts.called,
	})
}

func (rt *Runtime) sendLogs(ctx context.Context, b api.LogBatch) error {
	_, err := rt.API.Logs(ctx, b)
	rt.noteContact(err)
	return err
}

// Backoff is the pause between repeats of a call, as the configuration says then.
func (rt *Runtime) Backoff() *api.Backoff {
	return &api.Backoff{Rand: func(n int64) int64 { return int64(rt.Random() * float64(n)) }, Bounds: func() (initial, most time.Duration) {
		r := rt.Config().API.Retry
		return r.InitialInterval.Duration(), r.MaxInterval.Duration()
	}}
}

// Random is uniform in [0, 1): what spreads the calls of a fleet.
func (rt *Runtime) Random() float64 {
	if rt.random == nil {
		return mathrand.Float64()
	}
	return rt.random()
}

// tune has the client call as often and as long as is configured.
func (rt *Runtime) tune(c config.API) {
	rt.API.Tune(c.Timeout.Duration(), c.RateLimit.RequestsPerSecond, c.RateLimit.Burst)
}

// NoteContact tells the runtime how a call to the orchestrator went.
func (rt *Runtime) NoteContact(err error) { rt.noteContact(err) }

// ReportMonitors gives heartbeats their list of monitors.
func (rt *Runtime) ReportMonitors(list func() []api.MonitorInfo) { rt.monitors.Store(&list) }

func (rt *Runtime) monitorInfos() []api.MonitorInfo {
	list := rt.monitors.Load()
	if list == nil {
		return nil
	}
	out := (*list)()
	for i := range out {
		out[i].Message = rt.secrets.Redact(out[i].Message)
	}
	return out
}

// BeatSoon asks for a heartbeat now, because something that people watch changed.
func (rt *Runtime) BeatSoon() {
	select {
	case rt.beatNow <- struct{}{}:
	default:
	}
}

// DataDir is a directory below data/ of the base directory; it need not exist yet.
func (rt *Runtime) DataDir(name string) string {
	return filepath.Join(rt.Config().Agent.BaseDir, "data", name)
}
