//go:build !linux

package kit

// canMeasure says that this system does not tell what a process holds.
const canMeasure = false

func measure(int, string) (figures, bool) { return figures{}, false }

func leftBy(int, func() []int) int { return 0 }
