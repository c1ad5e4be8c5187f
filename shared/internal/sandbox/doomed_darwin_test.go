package sandbox

// doomedAgent belongs to a test of what only Linux has.
func doomedAgent() {}
