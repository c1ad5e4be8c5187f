package delivery

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a spool, an orchestrator and the network between them, reduced to what
// the machine can see of them.
type world struct {
	t     *rapid.T
	state State
	epoch int

	// The spool. base: settled under an earlier epoch.
	last, acked, base uint64
	aside             map[uint64]bool

	inFlight *inFlight
	waiting  bool

	// The orchestrator.
	poison  map[uint64]bool // events that it will never take
	taken   map[uint64]bool // events that it has, of all epochs
	through map[int]uint64  // by epoch
}

type inFlight struct {
	epoch       int
	first, last uint64 // numbers, gaps included
	records     []uint64
	items       int
}

// Events, faults of the network, poison and a restored snapshot in any order: one
// batch at a time, nothing acknowledged that is not settled, only poison is set
// aside, and once the network is well everything is delivered.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, aside: map[uint64]bool{}, poison: map[uint64]bool{}, taken: map[uint64]bool{}, through: map[int]uint64{}}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { w.append(rapid.IntRange(1, 20).Draw(rt, "events"), false) },
			"poison": func(*rapid.T) { w.append(1, true) },
			"answer": func(rt *rapid.T) {
				lost := rapid.Bool().Draw(rt, "answer lost")
				w.answer(rapid.Float64Range(0, 1).Draw(rt, "random"), lost)
			},
			"fail":      func(rt *rapid.T) { w.fail(Transient, rapid.Float64Range(0, 1).Draw(rt, "random")) },
			"too large": func(rt *rapid.T) { w.fail(Oversize, rapid.Float64Range(0, 1).Draw(rt, "random")) },
			"late":      func(*rapid.T) { w.step(Elapsed{}) },
			"restore": func(rt *rapid.T) {
				// The orchestrator has numbers from a life that the spool forgot,
				// more than it has given out since.
				w.through[w.epoch] = 1_000_000
			},
			"restart": func(*rapid.T) { w.restart() },
			"":        func(*rapid.T) { w.check() },
		})
		w.settle()
	})
}

func (w *world) append(n int, poison bool) {
	for range n {
		w.last++
		if poison {
			w.poison[w.last] = true
		}
	}
	w.step(Appended{Acked: w.acked, Last: w.last})
}

// restart loses what only the process knew: the state, the batch, what was set aside.
func (w *world) restart() {
	w.state, w.inFlight, w.waiting, w.aside = State{}, nil, false, map[uint64]bool{}
	w.step(Appended{Acked: w.acked, Last: w.last})
}

func (w *world) step(in Input) {
	if _, elapsed := in.(Elapsed); elapsed {
		w.waiting = false
	}
	var effects []Effect
	w.state, effects = Step(w.state, in)
	for _, e := range effects {
		w.do(e)
	}
}

func (w *world) do(e Effect) {
	switch e := e.(type) {
	case Send:
		if w.inFlight != nil || w.waiting {
			w.t.Fatalf("Send while a batch is in flight (%v) or a timer runs (%v)", w.inFlight, w.waiting)
		}
		if e.From != w.acked+1 || e.Max < 1 || e.Max > MaxItems {
			w.t.Fatalf("%+v with a spool settled through %d", e, w.acked)
		}
		w.inFlight = w.batch(e.Max)
	case Wait:
		if e.Duration < 0 || e.Duration > maxAside+maxRetryAfter {
			w.t.Fatalf("%+v", e)
		}
		w.waiting = true
	case Ack:
		if e.Through <= w.acked || e.Through > w.last || e.Through > w.through[w.epoch] {
			w.t.Fatalf("%+v: spool has %d to %d, the orchestrator settled %d", e, w.acked, w.last, w.through[w.epoch])
		}
		w.acked = e.Through
	case SetAside:
		if !w.poison[e.Seq] {
			w.t.Fatalf("event %d was set aside and is not poison", e.Seq)
		}
		w.aside[e.Seq] = true
	case Renew:
		w.epoch, w.base, w.acked = w.epoch+1, max(w.acked, w.base), 0
	}
}

// batch is what the spool gives: one gap for what an earlier epoch settled, then a
// record or a gap for each number.
func (w *world) batch(items int) *inFlight {
	b := &inFlight{epoch: w.epoch, first: w.acked + 1, last: w.acked}
	for b.items < items && b.last < w.last {
		b.items++
		switch {
		case b.last < w.base:
			b.last = w.base
			continue
		case !w.aside[b.last+1]:
			b.records = append(b.records, b.last+1)
		}
		b.last++
	}
	if b.items == 0 {
		w.t.Fatalf("there is nothing to send: spool has %d to %d", w.acked, w.last)
	}
	return b
}

// answer lets the orchestrator take or refuse what is in flight. When the answer is
// lost the sender sees a fault of the network instead.
func (w *world) answer(random float64, lost bool) {
	b := w.inFlight
	if b == nil {
		return
	}
	if slices.ContainsFunc(b.records, func(seq uint64) bool { return w.poison[seq] }) {
		if lost {
			w.fail(Transient, random)
		} else {
			w.fail(Refused, random)
		}
		return
	}
	known := w.through[b.epoch]
	for _, seq := range b.records {
		if seq > known { // others count as duplicates
			w.taken[seq] = true
		}
	}
	w.through[b.epoch] = max(known, b.last)
	if lost {
		w.fail(Transient, random)
		return
	}
	w.inFlight = nil
	w.step(Answered{AckedThrough: w.through[b.epoch], Last: w.last, Records: len(b.records), Random: random})
}

func (w *world) fail(class Class, random float64) {
	b := w.inFlight
	if b == nil {
		return
	}
	w.inFlight = nil
	first := uint64(0)
	if len(b.records) > 0 {
		first = b.records[0]
	}
	w.step(Failed{Class: class, Items: b.items, First: first, Random: random})
}

func (w *world) check() {
	busy := w.inFlight != nil || w.waiting
	if w.acked < w.last && !busy {
		w.t.Fatalf("%d to %d wait and nothing happens", w.acked+1, w.last)
	}
	for seq := uint64(1); seq <= max(w.acked, w.base); seq++ {
		if !w.taken[seq] && !w.poison[seq] {
			w.t.Fatalf("event %d is settled and the orchestrator does not have it", seq)
		}
	}
}

// settle makes everything well, after which everything is delivered.
func (w *world) settle() {
	for range 20 * (int(w.last) + 20) {
		if w.acked == w.last && w.inFlight == nil {
			break
		}
		w.answer(0, false)
		if w.waiting {
			w.step(Elapsed{})
		}
	}
	w.check()
	if w.acked != w.last {
		w.t.Fatalf("settled through %d of %d although all is well", w.acked, w.last)
	}
}

// An orchestrator that refuses every event by mistake, and takes the gaps, must not
// empty the spool.
func TestRefusingEverythingIsSlow(t *testing.T) {
	s, _ := Step(State{}, Appended{Last: 1000})
	aside := map[uint64]bool{}
	var waited time.Duration
	for len(aside) < 20 {
		first, through := s.Acked+1, s.Acked+uint64(s.Max)
		for aside[first] && first <= through {
			first++
		}
		var in Input = Failed{Class: Refused, Items: s.Max, First: first, Random: 1}
		if first > through { // gaps only
			in = Answered{AckedThrough: through}
		}
		var effects []Effect
		s, effects = Step(s, in)
		for _, e := range effects {
			switch e := e.(type) {
			case SetAside:
				aside[e.Seq] = true
			case Wait:
				waited += e.Duration
				s, _ = Step(s, Elapsed{})
			}
		}
	}
	if waited < time.Hour {
		t.Errorf("20 events were lost in %v, want that to take more than an hour", waited)
	}
}
