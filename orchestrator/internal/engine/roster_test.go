package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestARecordThatChangedWhileItWasReadIsNotKept holds that a look that began before a
// change does not put the record from before into the roster.
func TestARecordThatChangedWhileItWasReadIsNotKept(t *testing.T) {
	var e Engine
	key := agentKey{"o", "a"}
	_, changes, found := e.roster.find(key)
	if found {
		t.Fatal("a new roster has somebody")
	}
	e.forgetAgent("o", "a")
	e.roster.keep(key, store.Agent{ID: "a", State: store.Active}, changes)
	if _, _, found := e.roster.find(key); found {
		t.Error("the record from before the change was kept")
	}
	_, changes, _ = e.roster.find(key)
	e.roster.keep(key, store.Agent{ID: "a", CertificatePEM: "x", NextCertificatePEM: "y"}, changes)
	if a, _, found := e.roster.find(key); !found || a.CertificatePEM+a.NextCertificatePEM != "" {
		t.Errorf("kept %+v, %v; want the record without its certificates", a, found)
	}
}

// TestEqualPartsOfRecordsAreKeptOnce holds that what thousands of agents say alike takes the memory
// of one, and that nobody gets what another says.
func TestEqualPartsOfRecordsAreKeptOnce(t *testing.T) {
	var r roster
	kept := func(id api.AgentID, plugin api.PluginID) store.Agent {
		_, changes, _ := r.find(agentKey{"o", id})
		r.keep(agentKey{"o", id}, store.Agent{ID: id, Sandbox: posture(api.SandboxFull), Plugins: []api.PluginInfo{{ID: plugin}}}, changes)
		a, _, _ := r.find(agentKey{"o", id})
		return *a
	}
	a, b, c := kept("a", "p"), kept("b", "p"), kept("c", "q")
	if a.Sandbox != b.Sandbox || &a.Plugins[0] != &b.Plugins[0] {
		t.Error("two that say the same are kept twice")
	}
	if c.Plugins[0].ID != "q" || a.Plugins[0].ID != "p" {
		t.Errorf("%v and %v, want q and p", c.Plugins, a.Plugins)
	}
	for n := range 3 * mostAlike {
		id := api.PluginID(fmt.Sprint("x-", n))
		if d := kept("d", id); d.Plugins[0].ID != id {
			t.Fatalf("%v, want %s", d.Plugins, id)
		}
	}
	if len(r.plugins.last) != mostAlike {
		t.Errorf("%d are compared with, want %d", len(r.plugins.last), mostAlike)
	}
}

// TestAHeartbeatThatTellsNothingIsNotWritten holds that a heartbeat which says what is known is
// written with others, and only to keep the time of the last call to the minute, and that
// whatever one says is written at once.
func TestAHeartbeatThatTellsNothingIsNotWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		seen := func(h api.Heartbeat) (at time.Time) {
			if _, err := w.Heartbeat(t.Context(), a.Identity, h); err != nil {
				t.Fatal(err)
			}
			w.read(func(r store.Reader) error {
				record, err := r.Agent("a")
				at = record.LastSeen
				return err
			})
			return at
		}
		same := api.Heartbeat{Status: StatusOnline, Sandbox: posture(api.SandboxFull), Health: &api.Health{Status: "ok"}, Plugins: []api.PluginInfo{{ID: "p"}}}
		first := seen(same)
		for _, c := range []struct {
			what    string
			after   time.Duration
			h       func(*api.Heartbeat)
			written bool
		}{
			{"the same after half a minute", 30 * time.Second, func(*api.Heartbeat) {}, false},
			{"the same after a minute", 30 * time.Second, func(*api.Heartbeat) {}, false},
			{"another health", time.Second, func(h *api.Heartbeat) { h.Health = &api.Health{Status: "degraded"} }, true},
			{"another sandbox", time.Second, func(h *api.Heartbeat) { h.Sandbox = posture(api.SandboxLimited) }, true},
			{"another plugin", time.Second, func(h *api.Heartbeat) { h.Plugins = []api.PluginInfo{{ID: "q"}} }, true},
			{"another tag", time.Second, func(h *api.Heartbeat) { h.Tags = []string{"new"} }, true},
			{"a monitor", time.Second, func(h *api.Heartbeat) { h.Monitors = []api.MonitorInfo{{Name: "m"}} }, true},
			{"a package", time.Second, func(h *api.Heartbeat) { h.Assigned = []api.AssignedState{} }, true},
			{"another status", time.Second, func(h *api.Heartbeat) { h.Status = StatusDraining }, true},
		} {
			time.Sleep(c.after)
			c.h(&same)
			now := seen(same)
			if written := now.After(first); written != c.written {
				t.Errorf("%s: written: %v, want %v", c.what, written, c.written)
			}
			first = now
		}
	})
}

// TestWhoWasHeardOfIsWrittenTogether holds that what calls tell of agents' lives reaches the
// store by itself, in few transactions, and that an agent that was lost is back at once.
func TestWhoWasHeardOfIsWrittenTogether(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		var agents []agent
		for n := range 3 {
			agents = append(agents, w.enrol(api.Action, api.AgentID(fmt.Sprint("a-", n)), "h"))
		}
		call := func(a agent) {
			_, _, release, err := w.Admit(t.Context(), a.cert)
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		for _, a := range agents {
			call(a)
		}
		time.Sleep(2 * seenResolution)
		for _, a := range agents {
			call(a)
		}
		w.heard.mu.Lock()
		n := len(w.heard.of)
		w.heard.mu.Unlock()
		if n != len(agents) {
			t.Errorf("%d wait to be written, want all %d", n, len(agents))
		}
		called := time.Now()
		time.Sleep(seenWritten + 2*seenPause)
		w.read(func(r store.Reader) error {
			all, err := r.Agents()
			for _, a := range all {
				if !a.LastSeen.Equal(called) {
					t.Errorf("%s was seen at %v, want %v", a.ID, a.LastSeen, called)
				}
			}
			return err
		})
		if err := w.update(t.Context(), "default", func(tx *tx) error {
			a, err := tx.Agent(agents[0].Agent)
			a.Lost = true
			return errors.Join(err, tx.PutAgent(a))
		}); err != nil {
			t.Fatal(err)
		}
		call(agents[0])
		w.read(func(r store.Reader) error {
			a, err := r.Agent(agents[0].Agent)
			if a.Lost || !a.LastSeen.Equal(time.Now()) {
				t.Errorf("an agent that is back is %+v", a)
			}
			return err
		})
	})
}
