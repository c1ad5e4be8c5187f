package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/pkg/agent/agenttest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestOnAFullDiskNothingIsTaken: an offer that is on its way when the disk fills up is neither
// claimed nor run, and is counted; once there is room it is taken as ever.
func TestOnAFullDiskNothingIsTaken(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "")
	agenttest.SmallDisk(t, r.base)
	r.start()
	ballast := filepath.Join(r.base, "ballast")
	came := func() bool { return r.account("instructions_account")["received"] == 1 }
	for !came() { // a poll may end meanwhile, and the agent does not ask again before it has room
		await(t, "a poll", o.polled)
		agenttest.FillDisk(t, ballast)
		o.offer(order("one", "quick"))
		for end := time.Now().Add(2 * time.Second); !came() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if !came() {
			o.change(func() { o.offers = nil })
			freeDisk(t, ballast)
		}
	}
	r.balances()
	if a := r.account("instructions_account"); a["no_room"] != 1 {
		t.Errorf("the account says %v, want the one offer as no_room", a)
	}
	if calls := o.of(claim, "one"); len(calls) > 0 {
		t.Errorf("it was claimed: %+v", calls)
	}

	freeDisk(t, ballast)
	o.offer(order("one", "quick"))
	await(t, "its result once there is room", func() bool { return len(o.of(result, "one")) > 0 })
	if got := o.of(result, "one")[0].Result.Status; got != api.Completed {
		t.Errorf("it ended as %s", got)
	}
}

// An agent that is started without a byte left on its disk stays up, beats and says so, keeps what
// it was, and works when there is room (G6).
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "")
	agenttest.SmallDisk(t, r.base)
	r.start()
	o.offer(order("one", "quick"))
	await(t, "its result", func() bool { return len(o.of(result, "one")) > 0 })
	r.kill()
	ballast := filepath.Join(r.base, "ballast")
	takeAll(t, ballast)
	for range 2 {
		beats := len(o.heartbeats())
		r.start()
		await(t, "a heartbeat that tells of the disk", func() bool {
			select {
			case <-r.done:
				t.Fatalf("the agent ended with code %d", r.cmd.ProcessState.ExitCode())
			default:
			}
			return slices.ContainsFunc(o.heartbeats()[beats:], func(h api.Heartbeat) bool {
				return slices.ContainsFunc(h.Health.Conditions, func(c api.Condition) bool { return c.Name == "disk" })
			})
		})
		r.kill()
	}
	r.start()
	freeDisk(t, ballast)
	o.offer(order("two", "quick"))
	await(t, "a result once there is room", func() bool { return len(o.of(result, "two")) > 0 })
	if got := o.of(result, "two")[0].Result.Status; got != api.Completed {
		t.Errorf("it ended as %s", got)
	}
}

// Where there is no place in memory either for what the sandbox's self-test lays out, the agent waits for room
// before it takes anything, and goes on by itself.
func TestStartOnAFullDiskWithoutMemoryToTestIn(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "")
	agenttest.SmallDisk(t, r.base)
	r.start()
	o.offer(order("one", "quick"))
	o.outcome("one", api.Completed)
	r.kill()
	r.within = []string{"unshare", "-m", "sh", "-c", `{ test ! -d /dev/shm || mount -t tmpfs -o ro none /dev/shm; } && exec "$@"`, "sh"}
	ballast := filepath.Join(r.base, "ballast")
	takeAll(t, ballast)
	r.start()
	await(t, "the agent to say that it waits", func() bool {
		select {
		case <-r.done:
			t.Fatalf("the agent ended with code %d", r.cmd.ProcessState.ExitCode())
		default:
		}
		return strings.Contains(r.log.String(), "the agent waits for room on its disk")
	})
	o.offer(order("two", "quick"))
	freeDisk(t, ballast)
	o.outcome("two", api.Completed)
}

// takeAll leaves no byte of a disk.
func takeAll(t *testing.T, ballast string) {
	t.Helper()
	file, err := os.Create(ballast)
	for piece := make([]byte, 4096); err == nil; {
		_, err = file.Write(piece)
	}
	if file.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func freeDisk(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
