package agent

import (
	"testing"
	"time"
)

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
	for live, want := range map[uint64]int64{0: memoryLimit, 2 << 20: memoryLimit, 8 << 20: memoryLimit, 40 << 20: 88 << 20} {
		if got := roomFor(live); got != want {
			t.Errorf("with %d bytes in use the limit is %d, want %d", live, got, want)
		}
	}
}
