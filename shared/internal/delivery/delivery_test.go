package delivery

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestTransitions(t *testing.T) {
	sending := State{Phase: Sending, Acked: 4, Last: 9, Max: 8}
	for _, c := range []struct {
		name    string
		from    State
		in      Input
		to      State
		effects []Effect
	}{
		{"the first event", State{}, Appended{4, 9}, State{Phase: Sending, Acked: 4, Last: 9, Max: MaxItems}, []Effect{Send{5, MaxItems}}},
		{"nothing waits", State{}, Appended{9, 9}, State{Acked: 9, Last: 9, Max: MaxItems}, nil},
		{"more while sending", sending, Appended{0, 12}, State{Phase: Sending, Acked: 4, Last: 12, Max: 8}, nil},
		{"all taken", sending, Answered{AckedThrough: 9, Last: 9, Records: 5}, State{Acked: 9, Last: 9, Max: 16}, []Effect{Ack{9}}},
		{"part taken", sending, Answered{AckedThrough: 7, Last: 9, Records: 5}, State{Phase: Sending, Acked: 7, Last: 9, Max: 16}, []Effect{Ack{7}, Send{8, 16}}},
		{"nothing taken", sending, Answered{AckedThrough: 4, Last: 9, Random: 0.5}, State{Phase: Waiting, Acked: 4, Last: 9, Max: 8, Failures: 1}, []Effect{Wait{firstWait / 2}}},
		{"more than there is", sending, Answered{AckedThrough: 10, Last: 9}, State{Phase: Waiting, Last: 9, Max: 8, Failures: 1}, []Effect{Renew{}, Wait{0}}},
		{"nobody answers", sending, Failed{Class: Transient, RetryAfter: time.Minute, Items: 5, First: 5}, State{Phase: Waiting, Acked: 4, Last: 9, Max: 8, Failures: 1}, []Effect{Wait{time.Minute}}},
		{"refused", sending, Failed{Class: Refused, Items: 5, First: 5}, State{Phase: Sending, Acked: 4, Last: 9, Max: 2}, []Effect{Send{5, 2}}},
		{"one refused", sending, Failed{Class: Refused, Items: 1, First: 5}, State{Phase: Sending, Acked: 4, Last: 9, Max: 8, Refusals: 1}, []Effect{SetAside{5, ReasonRefused}, Send{5, 8}}},
		{"a gap refused", sending, Failed{Class: Refused, Items: 1}, State{Phase: Waiting, Acked: 4, Last: 9, Max: 8, Failures: 1}, []Effect{Wait{0}}},
		{"too large for a proxy", sending, Failed{Class: Oversize, Items: 5, First: 5}, State{Phase: Sending, Acked: 4, Last: 9, Max: 2}, []Effect{Send{5, 2}}},
		{"one too large for a proxy", sending, Failed{Class: Oversize, Items: 1, First: 5}, State{Phase: Waiting, Acked: 4, Last: 9, Max: 8, Failures: 1}, []Effect{Wait{0}}},
		{"time is up", State{Phase: Waiting, Acked: 4, Last: 9, Max: 8}, Elapsed{}, sending, []Effect{Send{5, 8}}},
		{"a late answer", State{Phase: Waiting, Acked: 4, Last: 9, Max: 8}, Answered{AckedThrough: 9}, State{Phase: Waiting, Acked: 4, Last: 9, Max: 8}, nil},
		{"a late timer", sending, Elapsed{}, sending, nil},
	} {
		to, effects := Step(c.from, c.in)
		if diff := cmp.Diff(c.to, to); diff != "" {
			t.Errorf("%s: state (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.effects, effects); diff != "" {
			t.Errorf("%s: effects (-want +got):\n%s", c.name, diff)
		}
	}
}

// An orchestrator that refuses some events for ever, fails at random and answers in
// part: every event is delivered in order or set aside, and only those are set aside
// that it refuses.
func TestNothingIsLostAndPoisonDoesNotBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.Uint64Range(1, 40).Draw(t, "events")
		poison := rapid.SliceOfDistinct(rapid.Uint64Range(1, last), func(n uint64) uint64 { return n }).Draw(t, "poison")
		var acked uint64
		var aside, delivered []uint64
		state, effects := Step(State{}, Appended{0, last})
		for steps := 0; len(effects) > 0; steps++ {
			if steps > 20_000 {
				t.Fatalf("no end in sight: %+v", state)
			}
			var in Input
			for _, e := range effects {
				switch e := e.(type) {
				case Ack:
					acked = e.Through
				case SetAside:
					aside = append(aside, e.Seq)
				case Wait:
					in = Elapsed{}
				case Renew:
					t.Fatal("renewed for no reason")
				case Send:
					if e.From != acked+1 {
						t.Fatalf("sends from %d, acknowledged is %d", e.From, acked)
					}
					in = answer(t, e, last, poison, aside, &delivered)
				}
			}
			state, effects = Step(state, in)
		}
		slices.Sort(aside)
		slices.Sort(poison)
		if acked != last || !slices.Equal(aside, poison) || !slices.IsSorted(delivered) || len(delivered)+len(aside) != int(last) {
			t.Fatalf("of %d events acknowledged through %d; delivered %v, set aside %v, poison %v", last, acked, delivered, aside, poison)
		}
	})
}

// answer plays the spool and the orchestrator: what was set aside is a gap.
func answer(t *rapid.T, s Send, last uint64, poison, aside []uint64, delivered *[]uint64) Input {
	through := min(last, s.From+uint64(s.Max)-1)
	var records []uint64
	for seq := s.From; seq <= through; seq++ {
		if !slices.Contains(aside, seq) {
			records = append(records, seq)
		}
	}
	items, first := int(through-s.From+1), uint64(0)
	if len(records) > 0 {
		first = records[0]
	}
	switch {
	case rapid.IntRange(0, 5).Draw(t, "fails") == 0:
		return Failed{Class: Transient, Items: items, First: first}
	case slices.ContainsFunc(records, func(n uint64) bool { return slices.Contains(poison, n) }):
		return Failed{Class: Refused, Items: items, First: first}
	}
	settled := rapid.Uint64Range(s.From-1, through).Draw(t, "settled")
	for _, seq := range records {
		if seq <= settled {
			*delivered = append(*delivered, seq)
		}
	}
	return Answered{AckedThrough: settled, Last: last, Records: len(records)}
}

// The bounds are those of the configuration, as of every other call of an agent: a sensor whose
// orchestrator was away is not silent for longer than the agent is.
func TestWaitsAreOfTheConfiguration(t *testing.T) {
	s := State{Phase: Sending, Last: 1, Max: 1, First: 100 * time.Millisecond, Most: time.Second}
	var waits []time.Duration
	for range 6 {
		var effects []Effect
		s, effects = Step(s, Failed{Class: Transient, Items: 1, First: 1, Random: 0.5})
		waits = append(waits, effects[0].(Wait).Duration)
		s, _ = Step(s, Elapsed{})
	}
	want := []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
}

func TestWaitsGrowAndAreBounded(t *testing.T) {
	s := State{Phase: Sending, Last: 1, Max: 1}
	longest := time.Duration(0)
	for n := range 40 {
		var effects []Effect
		s, effects = Step(s, Failed{Class: Transient, Items: 1, First: 1, Random: 0.999})
		w := effects[0].(Wait).Duration
		if w < longest || w > maxWait {
			t.Fatalf("wait %d is %v after %v", n, w, longest)
		}
		longest = w
		s, _ = Step(s, Elapsed{})
	}
	if _, effects := Step(s, Failed{Class: Transient, RetryAfter: 24 * time.Hour}); effects[0].(Wait).Duration > maxWait+maxRetryAfter {
		t.Errorf("a wrong Retry-After makes it wait %v", effects[0])
	}
	// R11: a server whose disk was full has everything again within ten seconds; one that
	// asks for a moment has too much to do.
	for after, want := range map[time.Duration]bool{4 * time.Second: true, time.Second: false} {
		_, effects := Step(s, Failed{Class: Transient, RetryAfter: after, Random: 0.999})
		if soon := effects[0].(Wait).Duration < 2*after; soon != want {
			t.Errorf("asked to wait %v after 40 failures it waits %v", after, effects[0])
		}
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Class
	}{
		{api.Errorf(api.CodeMalformed, ""), Refused},
		{api.Errorf(api.CodeTooLarge, ""), Refused},
		{fmt.Errorf("send: %w", api.Errorf(api.CodeInvalid, "")), Refused},
		{api.Errorf(api.CodeForbidden, ""), Transient}, // identity trouble never costs an event
		{api.Errorf(api.CodeRevoked, ""), Transient},
		{api.Errorf(api.CodeUnavailable, ""), Transient},
		{errors.New("connection refused"), Transient},
		{&api.UnreachableError{HTTPStatus: 413}, Oversize},                     // a proxy's, not the orchestrator's
		{&api.Error{Code: "RequestEntityTooLarge", HTTPStatus: 413}, Oversize}, // of a gateway
		{&api.UnreachableError{HTTPStatus: 400}, Transient},
	} {
		if got, _ := Classify(c.err); got != c.want {
			t.Errorf("Classify(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}
