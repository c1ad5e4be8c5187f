package server

import "testing"

// TestGrowth holds that a small heap may grow by much and a large one by little, and any by
// more while much becomes garbage.
func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		inUse, rate uint64 // MiB, MiB a second
		want        int
	}{
		{0, 0, 200}, {8, 0, 200}, {48, 0, 100}, {96, 0, 50}, {400, 0, 12}, {960, 0, 10}, {48, 1, 100},
		{64, 8, 375}, {64, 100, 500}, {16, 100, 1000}, {8, 100, 1000}, {400, 100, 80},
	} {
		if got := growth(c.inUse<<20, c.rate<<20); got != c.want {
			t.Errorf("with %d MiB in use and %d MiB a second a heap may grow by %d %%, want %d", c.inUse, c.rate, got, c.want)
		}
	}
}
