package server

import "testing"

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
