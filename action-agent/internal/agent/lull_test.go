package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// The next poll waits for what the last one brought, and not for long.
func TestLull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name   string
			offers int
			begun  []time.Duration
			waits  time.Duration
		}{
			{"nothing came", 0, nil, 0},
			{"both get under way", 2, []time.Duration{time.Millisecond, 2 * time.Millisecond}, 2 * time.Millisecond},
			{"one does not", 2, []time.Duration{time.Millisecond, time.Hour}, mostLull},
		} {
			l, begin := newLull(test.offers), time.Now()
			for _, after := range test.begun {
				time.AfterFunc(after, l.done)
			}
			if l.wait(); time.Since(begin) != test.waits {
				t.Errorf("%s: waited %v, want %v", test.name, time.Since(begin), test.waits)
			}
		}
	})
}

// On a busy host an attempt may have been given the right to start before the goroutine that is
// to run it came to look: it runs all the same. One that was refused does not.
func TestAnAttemptMayBeAnsweredBeforeItIsPrepared(t *testing.T) {
	for _, refusal := range []error{nil, errNoRight} {
		for range 100 { // what is looked at first is random
			a := &attempt{claiming: make(chan struct{}), answered: make(chan struct{}), refusal: refusal}
			if refusal == nil {
				close(a.claiming)
			}
			close(a.answered)
			if a.mayPrepare() != (refusal == nil) {
				t.Fatalf("with refusal %v: runs %v", refusal, refusal != nil)
			}
		}
	}
}

// A right that came in time is none any more when its time or its lease is over: the agent may have
// stood still since, or waited for its disk. A lease that was renewed is as good as new.
func TestARightToStartEnds(t *testing.T) {
	for _, of := range []struct {
		what             string
		expires, leaseOf int // s
		renewed          bool
		want             error
	}{
		{"in time", 10, 10, false, nil},
		{"neither is bounded", 0, 0, false, nil},
		{"its time is over", 3, 10, false, errExpired},
		{"its lease is over", 10, 3, false, errLeaseOver},
		{"its lease was renewed", 10, 3, true, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &attempt{i: api.Instruction{ExpiresInSeconds: of.expires, LeaseSeconds: of.leaseOf}, received: time.Now(), answered: make(chan struct{})}
			a.lease.Store(leased(&a.i, api.ProgressResponse{}, time.Now()))
			close(a.answered)
			time.Sleep(3 * time.Second)
			if of.renewed {
				a.lease.Store(leased(&a.i, api.ProgressResponse{}, time.Now()))
			}
			if err := a.mayStart(); !errors.Is(err, of.want) || a.missed != err {
				t.Errorf("%s: %v, want %v", of.what, err, of.want)
			}
		})
	}
}
