package server

import "testing"

// TestGrowth holds that a small heap may grow by much and a large one by little.
func TestGrowth(t *testing.T) {
	for inUse, want := range map[uint64]int{0: 200, 8 << 20: 200, 48 << 20: 100, 96 << 20: 50, 400 << 20: 20} {
		if got := growth(inUse); got != want {
			t.Errorf("with %d MiB in use a heap may grow by %d %%, want %d", inUse>>20, got, want)
		}
	}
}
