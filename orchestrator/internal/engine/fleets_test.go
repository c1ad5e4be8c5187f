package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// listing counts how often all agents are read.
type listing struct {
	store.Tx
	lists *int
}

func (l listing) Agents() ([]store.Agent, error) {
	*l.lists++
	return l.Tx.Agents()
}

// How many agents limits.targets is a part of is right after each change of who there is, and
// all are read only then.
func TestAgentsAreCountedWhenTheyChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		lists := 0
		expect := func(what string, want, reads int) {
			t.Helper()
			for range 3 {
				err := w.update(t.Context(), "default", func(tx *tx) error {
					tx.Tx = listing{tx.Tx, &lists}
					got, err := tx.engine.fleets.count(tx, []string{"web"})
					if got != want {
						t.Errorf("%s: %d agents, want %d", what, got, want)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if lists != reads {
				t.Errorf("%s: all agents were read %d times by now, want %d", what, lists, reads)
			}
		}
		beat := func(a agent, tags ...string) {
			if _, err := w.Heartbeat(context.Background(), a.Identity, api.Heartbeat{Status: StatusOnline, Tags: tags}); err != nil {
				t.Fatal(err)
			}
		}
		expect("nobody", 0, 1)
		a, b := w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "i")
		beat(a, "web")
		expect("one", 1, 2)
		beat(b, "db", "web")
		expect("two", 2, 3)
		if err := w.Revoke(t.Context(), "default", "a", "gone"); err != nil {
			t.Fatal(err)
		}
		expect("one is revoked", 1, 4)
		beat(b, "db")
		expect("none", 0, 5)
		time.Sleep(fleetAge)
		expect("later, as another server may have changed it", 0, 6)
	})
}
