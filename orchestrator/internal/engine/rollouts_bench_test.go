package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/depot"
	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// BenchmarkRollOut measures what a roll-out to 10,000 agents costs: a look at it, of which
// there are no more than take a tenth of the time, and the answer to one agent that asks
// what it is to have, which each does after a change.
func BenchmarkRollOut(b *testing.B) {
	st, authority := onDisk(b), newAuthority(b)
	packages, err := depot.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	e := New(st, authority, Options{Logger: slog.New(slog.DiscardHandler), Depot: packages})
	err = st.Org("default").Update(b.Context(), func(tx store.Tx) error {
		for n := range 10_000 {
			plugins := []api.PluginInfo{{ID: "cleaner", Version: "1.0.0", Type: "action", State: "ready"}}
			a := store.Agent{ID: api.AgentID(fmt.Sprintf("agent-%05d", n)), Type: api.Action, State: store.Active, Status: StatusOnline, LastSeen: time.Now(), TakesPackages: true, Plugins: plugins, CertificatePEM: strings.Repeat("A", 1200)}
			if err := tx.PutAgent(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := e.Publish(b.Context(), "default", bytes.NewReader(packtest.Pack(b, "cleaner", "1.0.0", nil))); err != nil {
		b.Fatal(err)
	}
	if _, err := e.Assign(b.Context(), "default", AssignSpec{Plugin: "cleaner", Selector: store.All}); err != nil {
		b.Fatal(err)
	}
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			err := st.Org("default").Update(b.Context(), func(tx store.Tx) error { return tx.HastenAssignments("cleaner", time.Now()) })
			if err == nil {
				_, err = e.tickRollouts(b.Context(), "default")
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ask", func(b *testing.B) {
		id := pki.Identity{Org: "default", Type: api.Action, Agent: "agent-00000"}
		for b.Loop() {
			if set, err := e.desired(b.Context(), id); err != nil || len(set.Plugins) != 1 {
				b.Fatal(set, err)
			}
		}
	})
}
