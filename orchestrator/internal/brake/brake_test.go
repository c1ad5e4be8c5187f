package brake

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestEachKeyHasItsRate(t *testing.T) {
	b := New(2, 3)
	for n := range 3 {
		if wait := b.Take("a", start); wait != 0 {
			t.Errorf("number %d of the burst waits %v", n, wait)
		}
	}
	if wait := b.Take("a", start); wait != 500*time.Millisecond {
		t.Errorf("one more waits %v, want half a second", wait)
	}
	if wait := b.Look("a", start.Add(499*time.Millisecond)); wait == 0 || wait > 2*time.Millisecond {
		t.Errorf("just before there is one: %v", wait)
	}
	if wait := b.Look("a", start.Add(500*time.Millisecond)); wait != 0 {
		t.Errorf("after that time: %v", wait)
	}
	if wait := b.Take("b", start); wait != 0 {
		t.Errorf("another key waits %v", wait)
	}
	if wait := b.Take("a", start.Add(500*time.Millisecond)); wait != 0 {
		t.Errorf("a look took one: %v", wait)
	}
}

// What is given back is there again, and never more than the burst.
func TestWhatIsGivenBack(t *testing.T) {
	b := New(1, 2)
	for range 10 { // with nothing taken
		b.GiveBack("a", start)
	}
	for n, want := range []time.Duration{0, 0, time.Second} {
		if wait := b.Take("a", start); wait != want {
			t.Errorf("take %d waits %v, want %v", n, wait, want)
		}
	}
	b.GiveBack("a", start)
	if first, second := b.Take("a", start), b.Take("a", start); first != 0 || second != time.Second {
		t.Errorf("after one was given back the next two wait %v and %v", first, second)
	}
}

// What was looked at by many at once is paid for by all of them.
func TestWhatIsChargedIsOwed(t *testing.T) {
	b := New(1, 3)
	for range 5 {
		if wait := b.Look("a", start); wait != 0 {
			t.Errorf("a look before anything was charged waits %v", wait)
		}
	}
	for range 5 {
		b.Charge("a", start)
	}
	if wait := b.Look("a", start); wait != 3*time.Second {
		t.Errorf("the next waits %v, want 3 s: two more than the burst were charged", wait)
	}
}

// TestKeysAreForgotten: those that have recovered go, one that has not stays, and there are
// never more than the most.
func TestKeysAreForgotten(t *testing.T) {
	b := New(1, 1)
	now := start
	for n := range 3 * most {
		b.Take(fmt.Sprint(n), now)
		now = now.Add(20 * time.Millisecond) // 50 keys are in use at a time
		b.Take("greedy", now)
		if len(b.of) > 2*sweptFirst {
			t.Fatalf("%d keys are kept of 50 in use", len(b.of))
		}
	}
	if b.Take("greedy", now) == 0 {
		t.Error("the one that comes all the time was forgotten")
	}
	for n := range 3 * most {
		b.Take("at once "+fmt.Sprint(n), now)
		if len(b.of) > most {
			t.Fatalf("%d keys are kept", len(b.of))
		}
	}
}

// TestTheHeldUpAreNotForgotten: whoever makes new keys, however many, has only those forgotten that
// are nearly full.
func TestTheHeldUpAreNotForgotten(t *testing.T) {
	b := New(1, 3)
	for range 3 {
		b.Take("guessed", start)
	}
	for n := range 3 * most {
		b.Take("other "+fmt.Sprint(n), start)
		if len(b.of) > most {
			t.Fatalf("%d keys are kept", len(b.of))
		}
	}
	if wait := b.Look("guessed", start); wait != time.Second {
		t.Errorf("the one that was held up waits %v, want 1 s", wait)
	}
}

func TestLongKeysAreBounded(t *testing.T) {
	b := New(1, 1)
	long := strings.Repeat("a", 64<<10)
	b.Take(long+"1", start)
	for key, want := range map[string]time.Duration{long + "1": time.Second, long + "2": 0} {
		if wait := b.Look(key, start); wait != want {
			t.Errorf("a long key waits %v, want %v", wait, want)
		}
	}
	for key := range b.of {
		if len(key) > longestKey {
			t.Errorf("%d bytes of a key are kept", len(key))
		}
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "@": "@",
	} {
		if got := Address(text); got != want {
			t.Errorf("Address(%q) = %q, want %q", text, got, want)
		}
	}
}
