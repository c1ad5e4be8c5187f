package sandbox

import "slices"

// Shown are the places of the host that every confined process may read, whatever it is
// granted.
func Shown() []string {
	return slices.Concat(baseDirs, baseFiles, networkFiles, []string{"/dev", "/proc"})
}
