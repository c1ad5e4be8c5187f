package warm

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxSeats is how many executions a zygote has at a time; more start cold. No agent runs
// more at a time by default.
const maxSeats = 64

// ErrCold says that nothing was started and nothing was asked: start it cold.
var ErrCold = errors.New("no warm process")

// ErrLost says that what was started is gone with the zygote that it was forked from: nobody can
// tell what it has done.
var ErrLost = errors.New("the warm process that the run was forked from is gone, and the run with it")

// Reason is why a zygote went. The reasons are stable: metrics carry them.
type Reason string

// The reasons.
const (
	Aged     Reason = "age"
	Spent    Reason = "executions"
	Idle     Reason = "idle"
	Replaced Reason = "replaced" // by one with another configuration or version
	Evicted  Reason = "evicted"  // for one that was used later
	Crashed  Reason = "crashed"  // it died, or broke its side of the protocol
	Worn     Reason = "worn"     // it said that it is not as fresh as it was
	Stopping Reason = "stopping" // the agent ends
)

// Options tune a pool.
type Options struct {
	Dir        string        // where zygotes get directories: its path should be short
	Prefix     string        // of their names
	Zygotes    int           // at most
	Idle, Age  time.Duration // after which a zygote goes
	Executions int           // of one zygote

	// Refused hears once for each plan why its runs stay cold. Gone hears of each end of
	// a zygote; err says more where it crashed. Both may be nil.
	Refused func(plugin api.PluginID, reason string)
	Gone    func(plugin api.PluginID, reason Reason, err error)
}

// Pool holds the zygotes. It works while Run does; before and after, everything is
// cold.
type Pool struct {
	opts   Options
	wanted chan *entry

	mu      sync.Mutex // guards the fields below
	open    bool
	entries map[key]*entry
	living  map[*zygote]bool // also those that go
}

// entry is what the pool knows of one plan.
type entry struct {
	plan    Plan
	raising bool
	zygote  *zygote // that gives seats, also while its successor is raised; nil while there is none
	refused bool    // for ever
	dropped bool    // not to be had any more: what is being raised goes at once
	backoff api.Backoff
	pause   time.Time // no new try before
	used    time.Time
}

// New makes a pool.
func New(o Options) *Pool {
	if o.Refused == nil {
		o.Refused = func(api.PluginID, string) {}
	}
	if o.Gone == nil {
		o.Gone = func(api.PluginID, Reason, error) {}
	}
	return &Pool{opts: o, wanted: make(chan *entry, o.Zygotes), entries: map[key]*entry{}, living: map[*zygote]bool{}}
}

// Run keeps the zygotes until ctx ends. Then it gives no more seats, waits for the
// executions that go on, which their own callers end, and ends the zygotes.
func (p *Pool) Run(ctx context.Context) error {
	var keepers sync.WaitGroup
	defer keepers.Wait()
	p.setOpen(true)
	defer p.setOpen(false)
	for {
		select {
		case e := <-p.wanted:
			keepers.Go(func() { p.keep(ctx, e) })
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Pool) setOpen(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
}

// Zygotes is how many there are.
func (p *Pool) Zygotes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.entries {
		if e.zygote != nil {
			n++
		}
	}
	return n
}

// Executions are the processes of the executions that stand by or go on. Who has left its
// zygote's session before the call is among them.
func (p *Pool) Executions() (pids []int) {
	p.mu.Lock()
	living := slices.Collect(maps.Keys(p.living))
	p.mu.Unlock()
	for _, z := range living {
		pids = append(pids, z.executions()...)
	}
	return pids
}

// Seat is the right to one execution of a zygote.
type Seat struct{ zygote *zygote }

// Seat gives a seat in the zygote of this plan, or nil where none is ready: start
// cold, and Prepare. Who has one frees it, after its execution, if any, has ended.
func (p *Pool) Seat(plan *Plan) *Seat {
	k, err := plan.key()
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[k]
	if e == nil || e.zygote == nil || !p.open {
		return nil
	}
	e.used = time.Now()
	seat := e.zygote.seat()
	if e.zygote.due(&p.opts) != "" {
		p.want(e)
	}
	return seat
}

// want has a zygote raised, unless one is, or the last try failed a moment ago. It needs mu.
func (p *Pool) want(e *entry) {
	if !p.open || e.raising || e.refused || time.Now().Before(e.pause) {
		return
	}
	select {
	case p.wanted <- e:
		e.raising = true
	default: // many at once; the next run asks again
	}
}

// Prepare asks for a zygote of this plan, in the background. It does nothing where
// there is one, where the plan is refused, and for a while after a failure. Zygotes of
// other plans of the same plugin go: its version or configuration has changed.
func (p *Pool) Prepare(plan Plan) {
	k, err := plan.key()
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replace(plan.Plugin, k)
	e := p.entries[k]
	if e == nil {
		e = &entry{plan: plan, backoff: api.Backoff{Max: 5 * time.Minute}}
		p.entries[k] = e
	}
	if e.zygote == nil {
		e.used = time.Now()
		p.want(e)
	}
}

// replace retires what else there is of a plugin. It needs mu.
func (p *Pool) replace(plugin api.PluginID, but key) {
	for k, e := range p.entries {
		if k == but || e.plan.Plugin != plugin {
			continue
		}
		if e.zygote != nil {
			e.zygote.retire(Replaced, nil)
			e.zygote = nil
		}
		if !e.raising {
			delete(p.entries, k)
		}
	}
}

// Drop retires what there is of a plugin, but for plans with this digest of its files:
// it has another version, or is gone.
func (p *Pool) Drop(plugin api.PluginID, butDigest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range p.entries {
		if e.plan.Plugin != plugin || e.plan.Digest == butDigest {
			continue
		}
		e.dropped = true
		if e.zygote != nil {
			e.zygote.retire(Replaced, nil)
		}
		delete(p.entries, k)
	}
}

// InUse are the directories of the plugins that there are zygotes of.
func (p *Pool) InUse() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.entries {
		if e.zygote != nil || e.raising {
			out = append(out, e.plan.Spec.Dir)
		}
	}
	return out
}

// keep is the life of one zygote.
func (p *Pool) keep(ctx context.Context, e *entry) {
	if p.isDropped(e) {
		return
	}
	z, err := raise(ctx, &e.plan, &p.opts)
	if !p.admit(ctx, e, z, err) {
		return
	}
	reason, err := z.run(ctx, &p.opts)
	p.dismiss(e, z, reason)
	z.close()
	p.opts.Gone(e.plan.Plugin, reason, err)
}

func (p *Pool) isDropped(e *entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.dropped
}

// refusal is why a plan never gets a zygote.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// admit makes a new zygote known, or notes why there is none.
func (p *Pool) admit(ctx context.Context, e *entry, z *zygote, err error) bool {
	p.mu.Lock()
	e.raising = false
	var never *refusal
	switch {
	case err == nil:
		if e.zygote != nil {
			e.zygote.retire(e.zygote.due(&p.opts), nil)
		}
		e.zygote, e.used = z, time.Now()
		p.living[z] = true
		if e.dropped {
			z.retire(Replaced, nil)
		}
		p.evict()
	case errors.As(err, &never):
		e.refused = true
	default:
		e.pause = time.Now().Add(e.backoff.Next(0))
	}
	dropped := e.dropped
	p.mu.Unlock()
	switch {
	case dropped: // nobody asks for it any more
	case never != nil:
		p.opts.Refused(e.plan.Plugin, never.reason)
	case err != nil && ctx.Err() == nil:
		p.opts.Gone(e.plan.Plugin, Crashed, err)
	}
	return err == nil
}

// evict retires the zygote that was not used for longest where there are too many. It
// needs mu.
func (p *Pool) evict() {
	var oldest *entry
	n := 0
	for _, e := range p.entries {
		if e.zygote == nil {
			continue
		}
		n++
		if oldest == nil || e.used.Before(oldest.used) {
			oldest = e
		}
	}
	if n > p.opts.Zygotes {
		oldest.zygote.retire(Evicted, nil)
		oldest.zygote = nil
	}
}

// dismiss forgets a zygote that goes, unless another has taken its place while its last
// executions went on. Who crashes is not tried again at once.
func (p *Pool) dismiss(e *entry, z *zygote, reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.living, z)
	if e.zygote == z {
		e.zygote = nil
	}
	if reason == Crashed {
		e.pause = time.Now().Add(e.backoff.Next(0))
	} else {
		e.backoff.Reset()
	}
}

// Given is the directory that its execution may read and nobody else's: for its
// socket and its input.
func (s *Seat) Given() string { return s.zygote.given }

// Temp is where its execution makes itself a scratch directory, and sets TMPDIR.
func (s *Seat) Temp() string { return s.zygote.temp }

// Gate is the way to the network that its execution shares with the others of its
// zygote, or nil: there is none, or one without listeners.
func (s *Seat) Gate() *egress.Gate { return s.zygote.gate }

// Wants reports whether what the next execution of the zygote needs is to be made before that
// begins: there is none, nobody else makes it, and another execution may follow. Who is told so
// calls Keep.
func (s *Seat) Wants() bool { return s.zygote.wants() }

// Keep keeps what was made for one that takes it, or nil where nothing could be. It is closed
// where nobody takes it.
func (s *Seat) Keep(c io.Closer) { s.zygote.keep(c) }

// Kept takes what was kept; nil where there is nothing.
func (s *Seat) Kept() io.Closer { return s.zygote.takeKept() }

// Stand forks an execution, which stands by: this seat's, or one to Keep. spec is that of a cold
// run: its limits but for that of time, and its grace count, all else is the zygote's. given is a
// directory made below Given. The error wraps ErrCold.
func (s *Seat) Stand(spec sandbox.Spec, given string) (*supervise.Standby, error) {
	return s.zygote.start(spec, given)
}

// Environment is the line that gives an execution an environment, before its command. The error
// wraps ErrCold.
func (s *Seat) Environment(env []string) ([]byte, error) { return s.zygote.environment(env) }

// Free gives the seat back. A nil seat is none.
func (s *Seat) Free() {
	if s != nil {
		s.zygote.free()
	}
}
