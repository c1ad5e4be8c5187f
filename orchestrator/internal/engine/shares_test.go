package engine

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"log/slog"

	"github.com/stavily/agents/shared/pkg/api"
)

// An organisation whose requests pile up holds up no other: what that asks is done while
// most of the pile still waits.
func TestAnOrganisationTakesItsShare(t *testing.T) {
	st := onDisk(t)
	e := New(st, nil, Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	const pile = 10 * share
	var done atomic.Int64
	var all sync.WaitGroup
	for range pile {
		all.Go(func() {
			err := e.update(t.Context(), "busy", func(*tx) error { time.Sleep(time.Millisecond); return nil })
			if err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
	}
	for done.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := e.update(t.Context(), "quiet", func(*tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if n := done.Load(); n > pile/2 {
		t.Errorf("another organisation waited for %d of %d transitions", n, pile)
	}
	all.Wait()
}

// Of the steps that wait for an agent it gets those of the highest priority first.
func TestPriorities(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		for _, priority := range []string{"low", "normal", "high"} {
			w.apply("name: " + priority + "\npriority: " + priority + "\ntriggers: [{event: test}]\nactions: [{plugin: " + priority + "}]\n")
		}
		w.sends(s, event(1), api.EventAccepted)
		offers, err := w.Poll(t.Context(), a.Identity, 0, 3)
		if err != nil || len(offers) != 3 {
			t.Fatalf("%+v, %v", offers, err)
		}
		for n, want := range []api.PluginID{"high", "normal", "low"} {
			if offers[n].PluginID != want || offers[n].Priority != string(want) {
				t.Errorf("offer %d is of %s with priority %s, want %s", n, offers[n].PluginID, offers[n].Priority, want)
			}
		}
	})
}
