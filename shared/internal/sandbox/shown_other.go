//go:build !linux

package sandbox

// Shown are the places of the host that every confined process may read, whatever it is
// granted; nil where they are no list.
func Shown() []string { return nil }
