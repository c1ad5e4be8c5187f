package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// upgrade is a world whose programs are replaced while there is work under way.
type upgrade struct {
	*world
	poster *client
	posted int
	ledger string // of the action
}

// install replaces the programs: what starts from now on is of that version.
func (u *upgrade) install(programs string) {
	next := binDir + ".next"
	u.must(os.Symlink(programs, next))
	u.must(os.Rename(next, binDir))
}

// acts posts an event and waits until its action has begun.
func (u *upgrade) acts() {
	u.t.Helper()
	u.posted++
	body := strings.NewReplacer(`"seq": 1`, fmt.Sprintf(`"seq": %d`, u.posted), `0001"`, fmt.Sprintf(`000%d"`, u.posted)).Replace(oneEvent)
	if status, answer := u.poster.call(u.ctx, "POST", "post-s/events", body); status != 200 {
		u.t.Fatalf("event = %d %s", status, answer)
	}
	u.await("the action begun", func() error {
		if did := strings.Join(effects(u.t, u.ledger), " "); strings.Count(did, "begin") < u.posted {
			return fmt.Errorf("action %d has not: %s", u.posted, did)
		}
		return nil
	})
}

// completed waits until all that was posted is done.
func (u *upgrade) completed() {
	u.t.Helper()
	u.await("the runs completed", func() error {
		runs := cli[[]run](u.world, "runs", "list", "--workflow", "slow", "--status", "completed")
		if len(runs) != u.posted {
			return fmt.Errorf("%d of %d have", len(runs), u.posted)
		}
		return nil
	})
}

// stop ends a process as its service manager does.
func (u *upgrade) stop(name string) {
	u.t.Helper()
	u.must(u.Process(name).Stop())
	u.Kill(name)
}

// A server and agents of a version before are brought to this one as docs/upgrade.md says, the
// server first, each over its own files and with work under way: nothing is lost or done twice.
func TestUpgradeInPlace(t *testing.T) {
	before := os.Getenv("STAVILY_E2E_BEFORE")
	if before == "" {
		t.Skip("STAVILY_E2E_BEFORE is not set: `make mixed-versions` builds an older version and runs this")
	}
	now := binDir
	binDir = filepath.Join(t.TempDir(), "bin")
	t.Cleanup(func() { binDir = now })
	if err := os.Symlink(before, binDir); err != nil {
		t.Fatal(err)
	}
	u := upgrade{world: newWorld(t)}
	u.apply(fmt.Sprintf(slowWorkflow, true))
	u.apply("name: count\ntriggers:\n  - event: count.tick\nactions:\n  - {id: none, plugin: nobody-has-it}\n")
	u.poster = u.client(u.agent("post-s", api.Sensor, nil, nil))
	u.agent("up-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.3}\n"})
	u.agent("up-a", api.Action, []string{"slow-action"}, nil)
	u.ledger = u.home("up-a", "slow-action", "effects")
	u.start("up-s", "up-a")

	u.acts()
	u.stop(cluster.ServerName) // while an action of an older agent runs
	u.install(now)
	u.must(u.StartServer(u.ctx))
	u.completed()
	u.acts()
	u.Kill("up-a") // in the middle: its journal is an older program's
	u.stop("up-s")
	u.start("up-a", "up-s")
	u.acts()
	u.completed()
	if did := strings.Join(effects(t, u.ledger), " "); strings.Count(did, "begin") != 4 || strings.Count(did, "end") != 3 {
		t.Errorf("the actions did %s: want three to their end, of which one was killed in its middle before", did)
	}
	time.Sleep(time.Second) // for events by the new agent
	u.stop("up-s")
	u.must(os.RemoveAll(filepath.Join(u.Agent("up-s").Base, "config", "plugins")))
	u.start("up-s")
	accepted := effects(t, u.home("up-s", "counting-sensor", "accepted"))
	u.await("every accepted event recorded", func() error { return recordedOnce(u.world, accepted) })
	if len(accepted) < 10 {
		t.Errorf("only %d events were accepted over the upgrade", len(accepted))
	}
	u.stop(cluster.ServerName)
	u.stavily("fsck")
}
