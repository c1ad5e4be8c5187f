package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Defaults of how long things are kept. Limits and attempts of workflows count the runs of up
// to 30 days, which is why runs are kept for longer.
const (
	DefaultEvents = 30 * day
	DefaultRuns   = 90 * day
	DefaultLogs   = 30 * day
	DefaultAudit  = 400 * day

	// LeastRuns is what workflows may look back.
	LeastRuns = 31 * day
	// Least is of everything else: what came just now is being looked at.
	Least = time.Hour

	day = 24 * time.Hour
)

const (
	every     = 10 * time.Minute
	firstLook = 5 * time.Minute // a clock that is wrong at the start of a machine is set by then
	share     = 4               // times as long as a transaction took is waited after it

	// clockSlack is how far clocks drift or are slewed; clockRest how long nothing is removed
	// after a jump: a person has noticed by then.
	clockSlack = time.Hour
	clockRest  = day

	actor = "retention"
)

// Options say what is kept and how long; 0: for ever.
type Options struct {
	Events, Runs, Logs, Audit time.Duration

	Archive string // directory of the archive; empty: there is none
	Logger  *slog.Logger
	Metrics *telemetry.Registry
}

// Validate names what cannot be meant.
func (o Options) Validate() error {
	var err error
	for _, one := range []struct {
		name        string
		keep, least time.Duration
	}{{"events", o.Events, Least}, {"runs", o.Runs, LeastRuns}, {"logs", o.Logs, Least}, {"audit", o.Audit, Least}} {
		if one.keep != 0 && one.keep < one.least {
			err = errors.Join(err, fmt.Errorf("%s are kept for %s: must be at least %s, or 0 to keep them for ever", one.name, one.keep, one.least))
		}
	}
	return err
}

// Engine is what changes the store.
type Engine interface {
	Orgs(context.Context) ([]api.OrgID, error)
	View(ctx context.Context, org api.OrgID, f func(store.Reader) error) error
	Change(ctx context.Context, org api.OrgID, f func(tx store.Tx, audit func(action, object, detail string) error) error) error
	// Leads reports whether this server is the one that does what one must do.
	Leads() bool
}

// Sweeper removes what is old.
type Sweeper struct {
	engine  Engine
	o       Options
	now     func() time.Time
	wait    func(context.Context, time.Duration)
	page    int // records that are read and removed at a time
	file    int // records of one file of the archive
	removed *telemetry.CounterVec
	failed  *telemetry.Counter

	seen    reading       // when the clocks were looked at last
	resting time.Duration // nothing is removed until so much has passed since the start
}

// reading is what two clocks show, of which nobody can set the second.
type reading struct {
	wall   time.Time
	passed time.Duration
}

// New returns a sweeper. Run it, or call Sweep.
func New(e Engine, o Options) *Sweeper {
	return &Sweeper{
		engine: e, o: o, now: time.Now, wait: wait, page: 200, file: 20_000,
		removed: o.Metrics.CounterVec("retention_removed_total", "Records that were removed because they were kept long enough, by kind: events, gaps, runs, logs or audit.", "kind"),
		failed:  o.Metrics.Counter("retention_failures_total", "Sweeps for old records that failed; what they did not remove stays until the next."),
	}
}

// Run sweeps until ctx is done.
func (s *Sweeper) Run(ctx context.Context) error {
	begin := time.Now()
	s.steady(s.now(), 0)
	for pause := firstLook; ; pause = every {
		s.wait(ctx, pause)
		if ctx.Err() != nil {
			return nil
		}
		if !s.steady(s.now(), time.Since(begin)) || !s.engine.Leads() {
			continue
		}
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.failed.Inc()
			s.o.Logger.ErrorContext(ctx, "old records were not all removed", "error", err, "again_in", every)
		}
	}
}

// steady reports whether the wall clock goes with the time that passes, and has done so for a
// while.
func (s *Sweeper) steady(wall time.Time, passed time.Duration) bool {
	before := s.seen
	s.seen = reading{wall.Round(0), passed}
	if before.wall.IsZero() {
		return true
	}
	if jump := s.seen.wall.Sub(before.wall) - (passed - before.passed); jump.Abs() > clockSlack {
		s.resting = passed + clockRest
		s.o.Logger.Warn("the clock was set: nothing is removed for its age for a day, in case it is wrong now", "jump", jump)
	}
	return passed >= s.resting
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Sweep removes everything that is old now.
func (s *Sweeper) Sweep(ctx context.Context) error {
	ctx = account.As(ctx, actor)
	orgs, err := s.engine.Orgs(ctx)
	for _, org := range orgs {
		for _, k := range s.kinds() {
			if k.keep == 0 || ctx.Err() != nil {
				continue
			}
			if e := s.sweep(ctx, org, k); e != nil {
				err = errors.Join(err, fmt.Errorf("%s of organisation %s: %w", k.name, org, e))
			}
		}
	}
	return err
}

// sweep removes one kind, a file of the archive at a time.
func (s *Sweeper) sweep(ctx context.Context, org api.OrgID, k kind) error {
	before := s.now().Add(-k.keep)
	for whole := true; whole && ctx.Err() == nil; {
		batches, name, err := s.archive(ctx, org, k, before)
		if err != nil || len(batches) == 0 {
			return err
		}
		if err := s.announce(ctx, org, k, batches[len(batches)-1], name); err != nil {
			return err
		}
		total := 0
		for _, b := range batches {
			if err := s.remove(ctx, org, b); err != nil {
				return err
			}
			s.removed.WithLabelValues(k.name).Add(float64(b.records))
			total += b.records
		}
		s.o.Logger.InfoContext(ctx, "removed what was kept long enough", "org", org, "kind", k.name, "records", total, "from_before", before, "archive", name)
		whole = total >= s.file // so there may be more
	}
	return ctx.Err()
}

// announce has on record what is about to be removed.
func (s *Sweeper) announce(ctx context.Context, org api.OrgID, k kind, last batch, name string) error {
	return s.engine.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		if last.cut.Through > 0 {
			last.cut.Archive = name
			a := last.cut.Audit(s.now(), actor)
			return audit(a.Action, a.Object, a.Detail)
		}
		detail := "removed"
		if name != "" {
			detail = "archived in " + name
		}
		return audit("retention.remove", k.name, fmt.Sprintf("through %s, older than %s: %s", last.last, s.o.keeps(k.name), detail))
	})
}

func (o Options) keeps(kind string) time.Duration {
	return map[string]time.Duration{events: o.Events, gaps: o.Events, runs: o.Runs, logs: o.Logs, audits: o.Audit}[kind]
}

// remove removes a batch, and then leaves the store to others for a while.
func (s *Sweeper) remove(ctx context.Context, org api.OrgID, b batch) error {
	begin := time.Now()
	err := s.engine.Change(ctx, org, func(tx store.Tx, _ func(action, object, detail string) error) error { return b.drop(tx) })
	s.wait(ctx, share*time.Since(begin))
	return err
}
