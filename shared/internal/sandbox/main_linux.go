package sandbox

import "os"

// Main turns this process into the helper that it was started as, and then never
// returns: the probe of a self-test, or the keeper of an agent's plugins. It must be
// the first statement of main, before flags are read or files opened. In every other
// process it does nothing.
func Main() {
	if len(os.Args) != 1 {
		return
	}
	switch os.Args[0] {
	case probeName:
		probeMain()
	case keeperName:
		keeperMain()
	}
}
