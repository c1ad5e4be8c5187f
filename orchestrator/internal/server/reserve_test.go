package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// TestGrowth holds that a small heap may grow by much and a large one by little, and any by
// more while much becomes garbage.
func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		inUse, rate uint64 // MiB, MiB a second
		want        int
	}{
		{0, 0, 200}, {8, 0, 200}, {48, 0, 100}, {96, 0, 50}, {200, 0, 24}, {400, 0, 20}, {960, 0, 20}, {48, 1, 100},
		{64, 8, 375}, {64, 100, 500}, {16, 100, 1000}, {8, 100, 1000}, {400, 100, 80},
	} {
		if got := growth(c.inUse<<20, c.rate<<20); got != c.want {
			t.Errorf("with %d MiB in use and %d MiB a second a heap may grow by %d %%, want %d", c.inUse, c.rate, got, c.want)
		}
	}
}

// TestLately holds that a rise counts that went on for two looks, and a fall for none.
func TestLately(t *testing.T) {
	var l lately
	for n, c := range []struct{ now, want uint64 }{{100, 0}, {110, 10}, {150, 10}, {170, 20}, {120, 0}, {180, 0}, {200, 20}} {
		if got := l.least(c.now); got != c.want {
			t.Errorf("look %d: rose by %d at least, want %d", n, got, c.want)
		}
	}
}

// TestReserveFollowsTheHeap holds that the heap may grow as [growth] says, to a tenth, as it grows
// and shrinks, that it is set anew only for more than a tenth, and that the setting from before
// comes back.
func TestReserveFollowsTheHeap(t *testing.T) {
	inReserve(t, func(r *reserved) {
		const from, to = 96 << 20 / block, 128 << 20 / block
		r.holds(from)
		r.wants("a heap that is held", 0)
		check := func(held int) {
			before := setting()
			r.holds(held)
			r.wants("a heap that changes", 0)
			if now := setting(); now != before && !apart(now, before) {
				t.Errorf("%d %% was set after %d %%", now, before)
			}
		}
		for held := from; held < to; held++ {
			check(held)
		}
		for held := to; held > from; held-- {
			check(held)
		}
	})
}

// TestReserveIsForGarbage holds that a heap may grow by more while garbage is made, unless as
// many goroutines come as those of agents that connect.
func TestReserveIsForGarbage(t *testing.T) {
	inReserve(t, func(r *reserved) {
		r.holds(96 << 20 / block)
		const rate = 8 << 20 // bytes a second
		stay := make(chan struct{})
		defer close(stay)
		for _, c := range []struct {
			what       string
			made, come int // bytes a second, goroutines a look
			want       uint64
		}{
			{"no garbage", 0, 0, 0}, {"garbage", rate, 0, rate}, {"few come", rate, manyCome - 1, rate}, {"many come", rate, manyCome, 0},
		} {
			for range 2 {
				runtime.KeepAlive(make([]byte, c.made*int(reserveLook/time.Second)))
				for range c.come {
					go func() { <-stay }()
				}
				r.look()
			}
			r.wants(c.what, c.want)
		}
	})
}

// reserved is a process whose reserve is kept, by a clock that jumps.
type reserved struct {
	t    *testing.T
	held [][]byte // blocks
}

const block = 4 << 20 // bytes

// inReserve runs f while the reserve is kept.
func inReserve(t *testing.T, f func(*reserved)) {
	t.Helper()
	const usual = 123 // per cent
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- keepReserve(ctx) }()
		f(&reserved{t: t})
		stop()
		if err := <-ended; err != nil || setting() != usual {
			t.Errorf("after the end: %v, a heap may grow by %d %%, want %d", err, setting(), usual)
		}
	})
}

// holds has so many blocks in use, and lets two looks be taken, of which the second finds
// that none was made since the first.
func (r *reserved) holds(blocks int) {
	for len(r.held) < blocks {
		r.held = append(r.held, make([]byte, block))
	}
	clear(r.held[blocks:])
	r.held = r.held[:blocks]
	runtime.GC()
	r.look()
	r.look()
}

// look lets the next look be taken.
func (r *reserved) look() {
	time.Sleep(reserveLook)
	synctest.Wait()
}

// wants the setting to be, to a tenth, for so many bytes a second of garbage.
func (r *reserved) wants(what string, rate uint64) {
	r.t.Helper()
	inUse := metric("/gc/heap/live:bytes") + metric("/memory/classes/heap/stacks:bytes")
	if want := growth(inUse, rate); apart(want, setting()) || inUse < uint64(len(r.held)*block) {
		r.t.Errorf("%s: a heap may grow by %d %% with %d bytes in use, want %d", what, setting(), inUse, want)
	}
}

// apart reports whether a percentage is more than a tenth from one that is set.
func apart(percent, set int) bool { return percent*10 < set*9 || percent*9 > set*10 }

// setting is by how much the heap may grow, in per cent.
func setting() int { return int(metric("/gc/gogc:percent")) }

func metric(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
