package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestKeepNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var states []State
		var pauses []time.Duration
		runs := 0
		Keep(ctx, Policy{Initial: time.Second, Max: time.Minute, Healthy: time.Hour, OnState: func(s State) {
			states = append(states, s)
			if s.Phase == Waiting {
				pauses = append(pauses, time.Until(s.Until))
			}
		}}, func(ctx context.Context, up func()) error {
			if runs++; runs == 1000 {
				up()
				cancel()
				return nil
			}
			return errors.New("no luck")
		})
		if len(pauses) != 999 {
			t.Fatalf("%d pauses, want 999", len(pauses))
		}
		longest := time.Duration(0)
		for i, p := range pauses {
			ceiling := time.Minute
			if i < 6 {
				ceiling = min(ceiling, time.Second<<i)
			}
			if p < 0 || p > ceiling {
				t.Errorf("pause %d is %v, above %v", i, p, ceiling)
			}
			longest = max(longest, p)
		}
		if longest < 30*time.Second {
			t.Errorf("the longest pause is %v: it does not grow", longest)
		}
		if s := states[1]; s.Phase != Waiting || s.Reason != "no luck" || s.Restarts != 1 {
			t.Errorf("second state %+v", s)
		}
		if s := states[len(states)-1]; s.Phase != Running || s.Restarts != 999 {
			t.Errorf("last state %+v", s)
		}
	})
}

func TestKeepForgetsFailuresAfterAHealthyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		var last time.Duration
		Keep(ctx, Policy{Initial: time.Second, Max: time.Hour, Healthy: time.Minute, OnState: func(s State) {
			if s.Phase == Waiting {
				last = time.Until(s.Until)
			}
		}}, func(ctx context.Context, up func()) error {
			switch runs++; {
			case runs == 30:
				up()
				time.Sleep(time.Minute)
			case runs == 31:
				cancel()
			}
			return nil
		})
		if last > time.Second {
			t.Errorf("the pause after a healthy time is %v, want at most a second", last)
		}
	})
}

func TestKeepStopsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		Keep(ctx, Policy{Initial: time.Hour, Max: time.Hour}, func(context.Context, func()) error { return nil })
		if d := time.Since(began); d > time.Second {
			t.Errorf("stopped after %v", d)
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log Transcript
		th := newThrottle(&log)
		for i := range logBurst + 500 {
			th.line("stdout", fmt.Appendf(nil, "%d", i))
		}
		time.Sleep(time.Second)
		th.line("stderr", []byte(strings.Repeat("é", api.MaxLogLineBytes)))
		th.line("stderr", nil)
		lines := log.Lines()
		tail := lines[len(lines)-3:]
		if tail[0] != "agent: 500 lines are left out here: the plugin logs more than 200 a second" {
			t.Errorf("remark %q", tail[0])
		}
		if !strings.HasSuffix(tail[1], "é…") || len(tail[1]) > api.MaxLogLineBytes+20 || th.reason() != strings.TrimPrefix(tail[1], "stderr: ") {
			t.Errorf("long line of %d bytes ends in %q", len(tail[1]), tail[1][len(tail[1])-8:])
		}
	})
}

func TestTranscriptKeepsBothEnds(t *testing.T) {
	var log Transcript
	for i := range 5000 {
		log.Line("stdout", fmt.Sprint(i))
	}
	lines := log.Lines()
	if len(lines) > api.MaxLogLines {
		t.Errorf("%d lines, at most %d fit a result", len(lines), api.MaxLogLines)
	}
	want := []string{"498", "agent: 4002 lines are left out here", "4501"}
	if diff := cmp.Diff(want, lines[half-1:half+2]); diff != "" {
		t.Errorf("the middle (-want +got):\n%s", diff)
	}
	if lines[0] != "0" || lines[len(lines)-1] != "4999" {
		t.Errorf("from %s to %s", lines[0], lines[len(lines)-1])
	}
	log = Transcript{}
	log.Line("stderr", "a")
	log.Line("stdout", "b")
	if diff := cmp.Diff([]string{"stderr: a", "b"}, log.Lines()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
