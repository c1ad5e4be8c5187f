package agent

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// leaveMemoryToTheAgent has the runtime as it is where nobody set its variables, and as it was
// after the test.
func leaveMemoryToTheAgent(t *testing.T) {
	t.Helper()
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	t.Cleanup(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
}

// The runtime's memory is limited from the start on, and the limit follows what is kept. Without
// it an action agent took 55 MB of hostile answers: see memoryLimit.
func TestMemoryOfTheRuntimeIsLimited(t *testing.T) {
	leaveMemoryToTheAgent(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = settle(ctx) }()
		synctest.Wait()
		if got := debug.SetMemoryLimit(-1); got != memoryLimit {
			t.Errorf("at the start the limit is %d bytes, want %d", got, memoryLimit)
		}
		const much = 64 << 20
		kept := make([]byte, much)
		runtime.GC()
		time.Sleep(settleAfter + workLook)
		synctest.Wait()
		if got := debug.SetMemoryLimit(-1); got < roomFor(much) {
			t.Errorf("with %d bytes kept the limit is %d, want %d at least", much, got, roomFor(much))
		}
		runtime.KeepAlive(kept)
		runtime.GC()
		time.Sleep(workLook)
		synctest.Wait()
		if got := debug.SetMemoryLimit(-1); got >= roomFor(much) {
			t.Errorf("with them given back the limit is %d still", got)
		}
	})
}

// An agent that works has the limit, and not only whoever calls settle.
func TestAgentsLimitTheirMemory(t *testing.T) {
	leaveMemoryToTheAgent(t)
	rt, _ := testRuntime(t, api.Sensor)
	enrolled(t, rt.Config(), pkitest.New(t, "ca"), "acme/sensor/web-01")
	rt.Role.Components = func(*Runtime) ([]Component, error) {
		return []Component{{"until it is limited", func(ctx context.Context) error {
			for debug.SetMemoryLimit(-1) != memoryLimit {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(10 * time.Millisecond):
				}
			}
			return nil // and the agent ends
		}}}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rt.work(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("the agent ended with %v, %v, and the limit is %d bytes, want %d", err, ctx.Err(), debug.SetMemoryLimit(-1), memoryLimit)
	}
}

// Who sets the runtime's own variables is left with them.
func TestMemoryOfTheRuntimeIsLeftToWhoSetsIt(t *testing.T) {
	leaveMemoryToTheAgent(t)
	t.Setenv("GOMEMLIMIT", "1TiB")
	debug.SetMemoryLimit(1 << 40) // as the variable would have
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = settle(ctx) }()
		time.Sleep(settleAfter + workLook)
		synctest.Wait()
		if got := debug.SetMemoryLimit(-1); got != 1<<40 {
			t.Errorf("the limit of GOMEMLIMIT became %d", got)
		}
	})
}

// An agent that works collects garbage less often, and gives the memory back half a minute after.
func TestAnAgentKeepsPace(t *testing.T) {
	const live, perLook = 2 << 20, uint64(workRate) * uint64(workLook/time.Second)
	p := pace{quiet: quietLooks}
	var allocated uint64
	want := func(what string, more uint64, percent int, rests bool) {
		t.Helper()
		allocated += more
		if got, over := p.look(allocated, live); got != percent || over != rests {
			t.Errorf("%s: %d per cent, over: %t; want %d, %t", what, got, over, percent, rests)
		}
	}
	want("idle", perLook-1, 0, false)
	want("at work", perLook, 400, false)
	for range quietLooks - 1 {
		want("not for long", 0, 0, false)
	}
	want("at work again", perLook, 400, false)
	for range quietLooks - 1 {
		want("not for long", 0, 0, false)
	}
	want("at rest", 0, settledPercent, true)
	want("still", 0, 0, false)
	if percent, _ := (&pace{}).look(perLook, 1<<30); percent != settledPercent {
		t.Errorf("a large heap may grow by %d per cent", percent)
	}
}

func TestWhoKeepsMuchHasRoomToWorkIn(t *testing.T) {
	for live, want := range map[uint64]int64{0: memoryLimit, 8 << 20: memoryLimit, 8<<20 + 1: memoryLimit + 2, 40 << 20: 88 << 20} {
		if got := roomFor(live); got != want {
			t.Errorf("with %d bytes in use the limit is %d, want %d", live, got, want)
		}
	}
}
