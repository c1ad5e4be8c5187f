package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/brake"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/depot"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// Options of an engine.
type Options struct {
	Logger   *slog.Logger
	Now      func() time.Time    // nil: time.Now
	LeaseTTL time.Duration       // 0: 60 s; how long an offer or a silent execution holds
	Depot    *depot.Depot        // of package files
	Grace    time.Duration       // how long after its end a certificate can be renewed, into quarantine; 0: it cannot
	GiveKeys bool                // private keys may be made here and downloaded once
	Vault    *secret.Vault       // of the values of secrets; nil: there are none
	Tokens   *ca.Tokens          // that agents may come with instead of a certificate; nil: they may not
	Trace    *trace.Tracer       // nil: traces only pass through
	Metrics  *telemetry.Registry // nil: counted and not shown
	Disk     Disk                // of the store
}

// leaseTTL is long enough for an agent to ride out a restart of the orchestrator and
// short enough that a lost agent is noticed in a minute.
const leaseTTL = 60 * time.Second

// fullRetry is how long agents hold on to what they have when the disk is full. They come
// back after this and up to as long again, so that all is as before within ten seconds of
// there being room.
const fullRetry = 4 * time.Second

// Engine is the orchestrator's core. Make it with [New].
type Engine struct {
	store store.Store
	ca    *ca.Authority
	jwt   *ca.Tokens // nil: off

	keyDownload bool
	grace       time.Duration
	stash       keyStash
	log         *slog.Logger
	now         func() time.Time // of clock
	clock       *reckoning
	setting     sync.RWMutex // held for writing while the clock is followed, for reading during each transition
	ttl         time.Duration
	depot       *depot.Depot
	vault       *secret.Vault // nil: secrets are off
	rotating    sync.Mutex    // held while all secrets are sealed again, or the CA takes a step
	trace       *trace.Tracer
	counts      *counts

	files      sync.Mutex                               // held while a file and its record come or go together
	deliveries crowd[api.OrgID, poll]                   // that wait for other packages to have
	lookTime   atomic.Int64                             // nanoseconds that the last look at roll-outs took
	requests   crowd[agentKey, context.CancelCauseFunc] // in flight, to end them when the agent is revoked
	polls      crowd[place, poll]                       // that wait for work
	events     pulse                                    // an event was stored
	runs       pulse                                    // a run, its history or its logs changed
	refusals   refusals
	streams    *brake.Brake // that agents begin
	strays     strays
	alarm      *alarm
	leads      atomic.Bool // this server reaps; always, where no other shares the store
	programs   programs
	roster     roster
	heard      heard
	waits      cache[[]waitingStep]
	shares     shares
	room       room
	usages     usages
	fleets     fleets
	looks      map[api.OrgID]look // at agents, by the reaper alone
	ids        *ids

	fatalOnce sync.Once
	fatal     chan struct{} // closed by fatalOnce
	fatalErr  error         // set before fatal is closed
}

// New returns an engine over a store and a CA. Call [Engine.Run] for leases to run out.
func New(s store.Store, authority *ca.Authority, o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LeaseTTL == 0 {
		o.LeaseTTL = leaseTTL
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.NewRegistry("stavily_server")
	}
	e := &Engine{
		store: s, ca: authority, jwt: o.Tokens, keyDownload: o.GiveKeys, grace: o.Grace, log: o.Logger, clock: newReckoning(o.Now), ttl: o.LeaseTTL, depot: o.Depot, vault: o.Vault, trace: o.Trace,
		alarm: newAlarm(), ids: newIDs(), looks: map[api.OrgID]look{}, streams: brake.New(1/streamEach.Seconds(), streamsAtOnce), fatal: make(chan struct{}),
	}
	e.now = e.clock.now
	e.room.disk = o.Disk
	e.counts = newCounts(o.Metrics, e)
	return e
}

// tx is one transition: a transaction, and what to do once it is durable.
type tx struct {
	store.Tx
	engine *Engine
	org    api.OrgID
	now    time.Time
	actor  string // whom audit records name where the server does something for somebody

	waiting []work    // that waits for an agent
	due     time.Time // the earliest lease, expiry or look at a roll-out that was set
	events  bool      // an event was added
	runs    bool      // a run changed

	waitsChange bool // steps begin or end to wait for events

	agents []api.AgentID // whose records changed

	expelled map[api.AgentID]*api.Error // was revoked or enrolled again: what is open ends with this answer

	fleetChanges bool // an agent comes or goes, or has other tags

	selections map[api.RunID]*workflow.Selection // what picking agents has cost each run

	delivered bool // agents are to have other packages than before
	monitors  bool // sensors are to run other monitors than before

	handed []handed // offers to polls that wait

	spans   []*trace.Span // of what was decided
	counted []func()      // what to count once it is durable
}

// count has f called once the transition is durable.
func (t *tx) count(f func()) { t.counted = append(t.counted, f) }

// update runs f in one transaction and, once that is durable, wakes who waits for
// what it did. f may return an [*api.Error], which rolls back and is the answer.
func (e *Engine) update(ctx context.Context, org api.OrgID, f func(*tx) error) error {
	var t *tx
	begin := time.Now()
	leave, err := e.shares.enter(ctx, org)
	if err != nil {
		return err
	}
	if err := failpoint.Caller("update.before"); err != nil {
		leave()
		return err
	}
	defer func() { t.withdraw() }() // what was not handed over
	err = e.unlessSet(func() error {
		return e.store.Org(org).Update(ctx, func(st store.Tx) error {
			if st.Others() {
				e.forget(org)
			}
			t = &tx{Tx: st, engine: e, org: org, now: e.now().Round(0), actor: account.Actor(ctx)}
			if err := f(t); err != nil {
				return err
			}
			if len(t.waiting) > 0 {
				t.count(func() { e.roster.worked(org) })
			}
			return t.finish()
		})
	})
	leave()
	e.counts.transactions.WithLabelValues(outcome(err)).Observe(time.Since(begin).Seconds())
	if errors.Is(err, store.ErrUnknownOutcome) {
		e.fatalOnce.Do(func() {
			e.fatalErr = err
			close(e.fatal)
		})
	}
	if errors.Is(err, store.ErrFull) {
		full := api.Errorf(api.CodeUnavailable, "The orchestrator's disk is full; nothing is lost, try again when there is space.")
		full.RetryAfter = fullRetry
		return errors.Join(full, err)
	}
	if errors.Is(err, store.ErrUnavailable) {
		return errors.Join(unreachable(), err)
	}
	if err != nil {
		return err
	}
	for _, id := range t.agents {
		e.forgetAgent(org, id)
	}
	for _, span := range t.spans {
		span.End()
	}
	for _, count := range t.counted {
		count()
	}
	if t.delivered {
		e.forgetSets()
	}
	if t.fleetChanges {
		e.fleets.forget(org)
	}
	e.heed(ctx, org, t.word())
	return failpoint.Caller("update.done")
}

// finish is the last that a transition does before it is durable: what it offers and what other
// servers are told is in its transaction.
func (t *tx) finish() error {
	if err := t.handOut(); err != nil {
		return err
	}
	if err := t.tell(); err != nil {
		return err
	}
	t.handOver()
	return nil
}

// View runs f on one consistent state of an organisation.
func (e *Engine) View(ctx context.Context, org api.OrgID, f func(store.Reader) error) error {
	err := e.store.Org(org).View(ctx, func(r store.Reader) error { return f(hearing{r, org, &e.heard}) })
	if errors.Is(err, store.ErrUnavailable) {
		return errors.Join(unreachable(), err)
	}
	return err
}

// Change runs f in one transition, for what the engine has no part in. What audit is told is
// recorded in the name of the context's actor.
func (e *Engine) Change(ctx context.Context, org api.OrgID, f func(tx store.Tx, audit func(action, object, detail string) error) error) error {
	return e.update(ctx, org, func(t *tx) error {
		return f(t, func(action, object, detail string) error { return t.audit(t.actor, action, object, detail) })
	})
}

// Orgs lists the organisations that have anything, in order.
func (e *Engine) Orgs(ctx context.Context) ([]api.OrgID, error) { return e.store.Orgs(ctx) }

// Leads reports whether this server is the one that does what one must do: always, where no
// other shares its store.
func (e *Engine) Leads() bool { return e.leads.Load() }

// EventsChanged returns a channel that is closed when the next event is stored. Take
// it before reading, so that nothing falls between the two.
func (e *Engine) EventsChanged() <-chan struct{} { return e.events.wait() }

// RunsChanged returns a channel that is closed when a run, its history or its logs
// change next.
func (e *Engine) RunsChanged() <-chan struct{} { return e.runs.wait() }

// audit records who did what, in the same transaction as its effect.
func (t *tx) audit(actor, action, object, detail string) error {
	return t.AddAudit(store.Audit{At: t.now, Actor: actor, Action: action, Object: object, Detail: detail})
}
