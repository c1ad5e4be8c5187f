package workflow

import (
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// GatherMode is how several events make one.
type GatherMode string

// The modes of `correlate`, then those of a `throttle` that waits.
const (
	All      GatherMode = "all"      // an event of every trigger
	Sequence GatherMode = "sequence" // the same, in the order of the triggers
	Count    GatherMode = "count"    // a number of events
	Absent   GatherMode = "absent"   // one that no other follows
	LastIn   GatherMode = "last_in"  // the last one within a time
	Collect  GatherMode = "collect"  // all within a time, or a number of them
)

// Gathering says which events make one. Those with the same [Decision.Group] belong together,
// and the time that counts is that of their arrival.
type Gathering struct {
	Mode   GatherMode
	Within time.Duration
	Count  int // of Count and Collect

	shape string // two with the same can go on with each other's windows
}

// The limits of what is gathered. The keys that are open in one workflow are the engine's to
// count.
const (
	maxGathered = 100 // events in one
	maxSequence = 8   // triggers: a window holds their number squared, halved

	// MaxOpen is how many windows of one workflow are open at most.
	MaxOpen = 10_000
)

// Correlates reports whether the events make one before they are held against the past.
func (g *Gathering) Correlates() bool { return g.Mode != LastIn && g.Mode != Collect }

// ends reports whether a window that ends by time starts a run.
func (g *Gathering) ends() bool { return g.Mode == Absent || !g.Correlates() }

// String is the gathering in words.
func (g *Gathering) String() string {
	switch g.Mode {
	case Count:
		return fmt.Sprintf("correlate %d events within %s", g.Count, g.Within)
	case Absent:
		return fmt.Sprintf("correlate: none follows within %s", g.Within)
	case LastIn:
		return fmt.Sprintf("throttle: the last in %s", g.Within)
	case Collect:
		return fmt.Sprintf("throttle: collect %d within %s", g.Count, g.Within)
	}
	return fmt.Sprintf("correlate %s of the triggers within %s", g.Mode, g.Within)
}

// Window is what has come of one key and does not make one event yet. The zero Window is
// empty. It means the same after a round trip through JSON.
type Window struct {
	Shape  string    `json:"shape"`  // of the gathering that opened it
	Closes time.Time `json:"closes"` // unless something comes before
	// Chains are the members: by trigger for All; for Sequence, at n the newest that is good
	// for the first n+1 triggers; else all are in the first.
	Chains [][]Member `json:"chains"`
}

// Member is an event in a window.
type Member struct {
	Agent api.AgentID `json:"agent"`
	Event api.EventID `json:"event"`
	At    time.Time   `json:"at"` // when it came
}

// Gathered is what became of an event, or of the time, in a window.
type Gathered struct {
	Window Window   // where it is empty, the window is closed
	Fired  []Member // that make one event, in the order in which they came; nil: none yet
	Clause Clause
	Reason string // where nothing has fired
}

// Fits reports whether a window was opened by a gathering of this shape. Another's means
// nothing here.
func (g *Gathering) Fits(w Window) bool { return w.Shape == g.shape }

// Take takes an event, which came at a time, into a window that is open, or empty.
func (d *Definition) Take(w Window, e Event, now time.Time) Gathered {
	g := d.Gather
	m := Member{e.Sender(), e.ID, now}
	if len(w.Chains) == 0 {
		w = Window{Shape: g.shape, Closes: m.At.Add(g.Within)}
	}
	var of []int
	budget := d.toDecide()
	for i, t := range d.Triggers {
		if t.takes(d, e, budget) {
			of = append(of, i)
		}
	}
	w.Chains = slices.Clone(w.Chains)
	var fired []Member
	switch g.Mode {
	case All:
		w, fired = d.takeAll(w, of, m)
	case Sequence:
		w, fired = d.takeSequence(w, of, m)
	case Absent:
		return d.takeAbsent(w, of, m)
	case LastIn:
		w.Chains = [][]Member{{m}}
	case Count, Collect:
		w, fired = g.takeOne(w, m)
	}
	return g.told(w, fired)
}

// told says in words what came of an event.
func (g *Gathering) told(w Window, fired []Member) Gathered {
	n, want := len(fired), g.Count
	if fired == nil {
		n = w.size(g.Mode)
	}
	value := fmt.Sprintf("%d of %d", n, want)
	switch g.Mode {
	case LastIn:
		value = "waits"
	case All, Sequence:
		value = fmt.Sprintf("%d came", n)
	}
	if fired != nil {
		return Gathered{Fired: fired, Clause: Clause{g.String(), value, expr.Met}}
	}
	value += ", until " + w.Closes.UTC().Format(time.RFC3339)
	return Gathered{Window: w, Clause: Clause{g.String(), value, expr.NotMet}, Reason: g.String() + ": " + value}
}

// size is how many events count towards the next one.
func (w Window) size(mode GatherMode) int {
	n := 0
	for i, chain := range w.Chains {
		switch {
		case mode != Sequence:
			n += len(chain)
		case len(chain) > 0:
			n = i + 1
		}
	}
	return n
}

// fresh drops what came longer ago than the time of the gathering.
func (g *Gathering) fresh(members []Member, now time.Time) []Member {
	for i, m := range members {
		if now.Sub(m.At) < g.Within {
			return slices.Clone(members[i:])
		}
	}
	return nil
}

func (g *Gathering) takeOne(w Window, m Member) (Window, []Member) {
	var before []Member
	if len(w.Chains) > 0 {
		before = w.Chains[0]
	}
	if g.Mode == Count { // any stretch of time counts, so what is too old goes
		before = g.fresh(before, m.At)
		w.Closes = m.At.Add(g.Within)
	}
	all := append(slices.Clip(before), m)
	if len(all) >= g.Count {
		return Window{}, all
	}
	w.Chains = [][]Member{all}
	return w, nil
}

func (d *Definition) takeAll(w Window, of []int, m Member) (Window, []Member) {
	w.Chains = append(w.Chains, make([][]Member, len(d.Triggers)-len(w.Chains))...)
	for i := range w.Chains {
		w.Chains[i] = d.Gather.fresh(w.Chains[i], m.At)
	}
	for _, i := range of {
		w.Chains[i] = []Member{m}
	}
	w.Closes = m.At.Add(d.Gather.Within)
	var all []Member
	for _, chain := range w.Chains {
		if len(chain) == 0 {
			return w, nil
		}
		all = append(all, chain...)
	}
	slices.SortStableFunc(all, func(a, b Member) int { return a.At.Compare(b.At) })
	return Window{}, slices.Compact(all)
}

// takeSequence keeps for each length the chain that began last: of all that end here it is
// the one that is in time if any is.
func (d *Definition) takeSequence(w Window, of []int, m Member) (Window, []Member) {
	w.Chains = append(w.Chains, make([][]Member, len(d.Triggers)-len(w.Chains))...)
	for i := range w.Chains {
		if chain := w.Chains[i]; len(chain) > 0 && m.At.Sub(chain[0].At) >= d.Gather.Within {
			w.Chains[i] = nil
		}
	}
	for _, i := range slices.Backward(of) {
		switch {
		case i == 0:
			w.Chains[0] = []Member{m}
		case len(w.Chains[i-1]) > 0:
			w.Chains[i] = append(slices.Clone(w.Chains[i-1]), m)
		}
	}
	if last := w.Chains[len(w.Chains)-1]; len(last) > 0 {
		return Window{}, last
	}
	var newest time.Time // beginning of a chain
	for _, chain := range w.Chains {
		if len(chain) > 0 && chain[0].At.After(newest) {
			newest = chain[0].At
		}
	}
	if newest.IsZero() {
		return Window{}, nil
	}
	w.Closes = newest.Add(d.Gather.Within)
	return w, nil
}

// takeAbsent waits from an event of the first trigger for one of the others. Where there is
// only one trigger, the event itself must come again.
func (d *Definition) takeAbsent(w Window, of []int, m Member) Gathered {
	g := d.Gather
	first, open := of[0] == 0, len(w.Chains) > 0
	switch {
	case len(of) > 1 || !first: // what was waited for
		value := "came"
		if !open {
			value = "came, and was not waited for"
		}
		return Gathered{Clause: Clause{g.String(), value, expr.NotMet}, Reason: g.String() + ": it " + value}
	case !open || len(d.Triggers) == 1:
		w.Chains, w.Closes = [][]Member{{m}}, m.At.Add(g.Within)
	}
	until := w.Closes.UTC().Format(time.RFC3339)
	return Gathered{Window: w, Clause: Clause{g.String(), "waits until " + until, expr.NotMet}, Reason: g.String() + ": waits until " + until}
}

// Close says what makes one event when the time of a window is over.
func (d *Definition) Close(w Window) Gathered {
	g := d.Gather
	if !g.ends() || len(w.Chains) == 0 {
		return Gathered{Clause: Clause{g.String(), "its time is over", expr.NotMet}, Reason: g.String() + ": its time is over"}
	}
	fired := w.Chains[0]
	return Gathered{Fired: fired, Clause: Clause{g.String(), fmt.Sprintf("%d, and its time is over", len(fired)), expr.Met}}
}

// Gathered adds to a decision what became of its event in a window.
func (d Decision) Gathered(g Gathered) Decision {
	d.Clauses = append(d.Clauses[:len(d.Clauses):len(d.Clauses)], g.Clause)
	if g.Fired == nil {
		d.refuse("%s", g.Reason)
	}
	return d
}

// gather checks correlate and throttle.
func (c *checker) gather(text document) {
	if path := []any{"correlate"}; c.doc.Has(path) {
		c.correlate(path, text.Correlate)
	}
	if path := []any{"throttle"}; c.doc.Has(path) {
		c.throttle(path, text.Throttle)
	}
}

func (c *checker) correlate(path []any, said correlate) {
	g := &Gathering{Mode: GatherMode(said.Mode), Count: said.Count}
	if !slices.Contains([]GatherMode{All, Sequence, Count, Absent}, g.Mode) {
		c.fail(at(path, "mode"), "mode %q: must be all, sequence, count or absent", said.Mode)
	}
	if g.Within = c.duration(at(path, "within"), said.Within, 0, time.Second, maxWindow); !c.doc.Has(at(path, "within")) {
		c.fail(path, "correlate.within is missing: say within which time the events must come, for example 5m")
	}
	if counted := c.doc.Has(at(path, "count")); counted && g.Mode != Count {
		c.fail(at(path, "count"), "count is for mode count: leave it out")
	} else if g.Mode == Count && (g.Count < 2 || g.Count > maxGathered) {
		c.fail(at(path, "count"), "count %d: must be from 2 to %d", g.Count, maxGathered)
	}
	switch n := len(c.def.Triggers); {
	case (g.Mode == All || g.Mode == Sequence) && n < 2:
		c.fail(at(path, "mode"), "mode %s is of several triggers, and there is one: use mode count", g.Mode)
	case g.Mode == Sequence && n > maxSequence:
		c.fail(at(path, "mode"), "%d triggers, at most %d in a sequence", n, maxSequence)
	}
	if !c.doc.Has(at(path, "key")) {
		c.fail(path, "correlate.key is missing: list what the events must have in common, for example [event.agent.id]; [] for nothing")
	}
	c.def.group = c.keys(at(path, "key"), said.Key)
	c.def.grouped = true
	c.gathers(g, said.Key)
}

func (c *checker) throttle(path []any, said throttle) {
	var modes []string
	for _, key := range []string{"first_in", "last_in", "collect"} {
		if c.doc.Has(at(path, key)) {
			modes = append(modes, key)
		}
	}
	if len(modes) != 1 {
		c.fail(path, "throttle must have exactly one of first_in, last_in and collect")
		return
	}
	if modes[0] == "first_in" {
		c.def.Throttle = c.duration(at(path, "first_in"), said.FirstIn, 0, time.Second, maxWindow)
	} else {
		g := &Gathering{Mode: LastIn, Count: said.Collect.Count}
		where := at(path, "last_in")
		if g.Mode = GatherMode(modes[0]); g.Mode == Collect {
			where, said.LastIn = at(path, "collect", "within"), said.Collect.Within
			if g.Count < 2 || g.Count > maxGathered {
				c.fail(at(path, "collect", "count"), "count %d: must be from 2 to %d", g.Count, maxGathered)
			}
		}
		if g.Within = c.duration(where, said.LastIn, 0, time.Second, maxWindow); !c.doc.Has(where) {
			c.fail(at(path, "collect"), "collect.within is missing: say how long to wait for more, for example 5m")
		}
		c.gathers(g, said.Key)
	}
	if c.doc.Has(at(path, "key")) && !c.doc.Has([]any{"correlate"}) {
		c.def.group, c.def.grouped = c.keys(at(path, "key"), said.Key), true
	}
}

// gathers notes a gathering. Its shape is all that a window means something by.
func (c *checker) gathers(g *Gathering, key []string) {
	patterns := make([]string, len(c.def.Triggers))
	for i, t := range c.def.Triggers {
		patterns[i] = t.String()
	}
	g.shape = digestOf(fmt.Appendf(nil, "%s %s %d %q %q", g.Mode, g.Within, g.Count, key, patterns))
	if c.def.Gather != nil {
		c.fail([]any{"throttle"}, "throttle.%s cannot be used with correlate: both make one event of several; use first_in, or split the workflow", g.Mode)
	}
	c.def.Gather = g
}

// keys compiles a list of expressions over the event.
func (c *checker) keys(path []any, sources []string) []*expr.Program {
	var out []*expr.Program
	for i, source := range sources {
		out = append(out, c.key(at(path, i), source))
	}
	return out
}

// key compiles one expression over the event.
func (c *checker) key(path []any, source string) *expr.Program {
	if !c.count(path) {
		return nil
	}
	p, problems := c.env.Compile(source, deciding)
	c.report(path, 0, problems)
	return p
}
