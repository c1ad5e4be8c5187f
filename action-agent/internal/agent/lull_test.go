package agent

import (
	"testing"
	"testing/synctest"
	"time"
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
