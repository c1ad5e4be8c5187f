package egress

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/internal/destination"
)

// MaxAddresses is how many a Count names: more than a name usually leads to.
const MaxAddresses = 8

// Count sums up the connections to one destination.
type Count struct {
	Destination    destination.Destination
	Addresses      []netip.Addr // that were reached, the first MaxAddresses
	Connections    int64        // that reached it
	Refused        int64        // by policy or because there were too many
	Failed         int64        // unresolved, unreachable, or not there yet at the end
	Shared         int64        // of all these, which somebody else may have made
	Sent, Received int64
	LastError      string // for people; empty when nothing went wrong
}

// Tally sums up what one user of a gate, a run say, does with it from Join to Leave.
// Users of a gate at the same time share a network, where nothing tells whose a
// connection is: one that begins while there are several counts for each, as shared.
type Tally struct {
	gate   *Gate
	name   string
	counts []Count // as the gate's destinations, nil after Leave; the gate's mu guards it
}

// Join begins a tally. Without a gate there is none.
func (g *Gate) Join(name string) *Tally {
	if g == nil {
		return nil
	}
	t := &Tally{gate: g, name: name}
	for _, d := range g.o.Destinations {
		t.counts = append(t.counts, Count{Destination: d})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.joined = append(g.joined, t)
	return t
}

// Leave ends a tally whose user has ended, and gives the counts of all destinations that
// it tried. Connections that can be nobody else's have a moment to deliver what was
// sent and are ended; of others it has what went over them so far, once they have
// reached somebody. That takes linger at most, and mostly nothing. A tally is left once.
func (t *Tally) Leave() []Count {
	if t == nil {
		return nil
	}
	g := t.gate
	g.settle()
	nobodys, shared := g.depart(t)
	for _, f := range nobodys {
		<-f.done // within linger
	}
	awaitDecided(shared)
	g.mu.Lock()
	defer g.mu.Unlock()
	for f := range g.flows {
		if slices.Contains(f.users, t) {
			t.add(f, Connection{Sent: f.sent.Load(), Received: f.received.Load(), Reason: "not reached when the run ended"})
		}
	}
	counts := t.counts
	t.counts = nil
	return slices.DeleteFunc(counts, func(c Count) bool { return c.Connections+c.Refused+c.Failed == 0 })
}

// depart takes t out. It gives its connections: those that now are nobody's, which end,
// and those that may be somebody's who goes on.
func (g *Gate) depart(t *Tally) (nobodys, shared []*flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.joined = slices.DeleteFunc(g.joined, func(other *Tally) bool { return other == t })
	for f := range g.flows {
		switch {
		case !slices.Contains(f.users, t):
		case slices.ContainsFunc(f.users, func(u *Tally) bool { return slices.Contains(g.joined, u) }):
			shared = append(shared, f)
		default:
			f.forsake()
			nobodys = append(nobodys, f)
		}
	}
	return nobodys, shared
}

// awaitDecided waits until connections have reached somebody or not, or for linger.
func awaitDecided(flows []*flow) {
	limit := time.NewTimer(linger)
	defer limit.Stop()
	for _, f := range flows {
		select {
		case <-f.decided:
		case <-limit.C:
			return
		}
	}
}

// settle waits until connections that were made before now have been accepted and begun: the
// next user's must not be taken for theirs. That is at once but on a host in trouble.
func (g *Gate) settle() {
	end := time.Now().Add(linger)
	for g.waiting() && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	limit := time.NewTimer(time.Until(end))
	defer limit.Stop()
	for _, passed := range g.call() {
		select {
		case <-passed:
		case <-limit.C:
			return
		}
	}
}

// call has all who accept come by; what they have accepted they have begun then.
func (g *Gate) call() (passed []chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.listeners {
		if l.setDeadline(time.Unix(1, 0)) == nil {
			c := make(chan struct{})
			g.passes[l], passed = append(g.passes[l], c), append(passed, c)
		}
	}
	return passed
}

// pass is what who accepts there does when it is called: all that called by then have it done.
func (g *Gate) pass(l listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = l.setDeadline(time.Time{}) // fails where it is closed, as the next Accept does
	g.passed(l)
}

// passed tells those that called who accepts there. It needs mu.
func (g *Gate) passed(l listener) {
	for _, c := range g.passes[l] {
		close(c)
	}
	delete(g.passes, l)
}

// setDeadline has an Accept that waits, and each that follows, return at a time; zero: none.
func (l listener) setDeadline(at time.Time) error {
	t, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return t.SetDeadline(at)
}

func (g *Gate) waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.listeners {
		if backlog(l) {
			return true
		}
	}
	return false
}

// add counts a connection as it ended or, with an outcome that is none, as it is. It
// needs the gate's mu.
func (t *Tally) add(f *flow, c Connection) {
	if t.counts == nil {
		return
	}
	n := &t.counts[f.destination]
	switch {
	case f.address.IsValid():
		n.Connections++
		if a := f.address.Addr(); len(n.Addresses) < MaxAddresses && !slices.Contains(n.Addresses, a) {
			n.Addresses = append(n.Addresses, a)
		}
	case c.Outcome == Refused || c.Outcome == Busy:
		n.Refused++
	default:
		n.Failed++
	}
	if len(f.users) > 1 {
		n.Shared++
	}
	n.Sent += c.Sent
	n.Received += c.Received
	if went := f.address.IsValid() && (c.Outcome == Stopped || c.Outcome == ""); !went && c.Reason != "" {
		n.LastError = c.Reason
	}
}

// flow is one connection while it lasts.
type flow struct {
	destination int
	users       []*Tally // who may have made it
	end         context.CancelCauseFunc
	decided     chan struct{}  // closed when it has reached somebody, or never will
	done        chan struct{}  // closed after the report
	address     netip.AddrPort // that was reached; the gate's mu guards it
	pipe

	mu       sync.Mutex // guards the fields below; may be taken with the gate's
	forsaken *time.Timer
	said     bool // all that the plugin had to say
}

// errForsaken ends a connection whose user has ended.
var errForsaken = errors.New("the plugin ended")

// linger is how long what a plugin sent before it ended has to be delivered: a name is
// looked up and a far host reached in half of it.
const linger = time.Second

// forsake says that the plugin's side has ended: what it sent is delivered still, what
// comes back nobody reads.
func (f *flow) forsake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forsaken == nil {
		f.forsaken = time.AfterFunc(linger, func() { f.end(errForsaken) })
	}
	if f.said {
		f.end(errForsaken)
	}
}

// delivered says that the plugin has nothing more to say, and all of it went out.
func (f *flow) delivered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = true
	if f.forsaken != nil {
		f.end(errForsaken)
	}
}

// told reports whether all that the plugin said went out.
func (f *flow) told() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said
}

// begin notes a connection that was just accepted.
func (g *Gate) begin(ctx context.Context, destination int) (context.Context, *flow) {
	f := &flow{destination: destination, decided: make(chan struct{}), done: make(chan struct{}), pipe: pipe{idle: g.o.Idle}}
	ctx, f.end = context.WithCancelCause(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	f.users = slices.Clone(g.joined)
	g.flows[f] = true
	return ctx, f
}

// finish counts and reports a connection that has ended.
func (g *Gate) finish(f *flow, c Connection) {
	for _, u := range f.users {
		c.Users = append(c.Users, u.name)
	}
	if g.o.Report != nil {
		g.o.Report(c)
	}
	f.mu.Lock()
	if f.forsaken != nil {
		f.forsaken.Stop()
	}
	f.mu.Unlock()
	f.end(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.flows, f)
	for _, u := range f.users {
		u.add(f, c)
	}
	if !f.address.IsValid() {
		close(f.decided)
	}
	close(f.done)
}

// reached notes the address that a connection goes to.
func (g *Gate) reached(f *flow, to netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.address = to
	close(f.decided)
}

// open notes a listener, and gives what forgets it and forsakes its connections.
func (g *Gate) open(l listener) (shut func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listeners[l] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.listeners, l)
		g.passed(l)
		for f := range g.flows {
			if f.destination == l.destination {
				f.forsake()
			}
		}
	}
}
