//go:build !failpoints

package failpoint

// Hit marks a point. Its error is the one that is injected.
func Hit(string) error { return nil }

// At marks a point that serves many, and what it is reached for.
func At(string, string) error { return nil }

// Caller marks a point that is told apart by who called the function that has it.
func Caller(string) error { return nil }

// File marks a point that serves many files.
func File(string, string) error { return nil }
