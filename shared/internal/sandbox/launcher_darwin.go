package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// exitLauncher is the exit code of a launcher that could not become the plugin;
// 125 is what env(1) and docker(1) use for it.
const exitLauncher = 125

// Main turns this process into the helper that it was started as, and then never
// returns: a launcher, the probe of a self-test, or the keeper of an agent's plugins. It
// must be the first statement of main, before flags are read or files opened. In every
// other process it does nothing.
func Main() {
	if len(os.Args) != 1 {
		return
	}
	switch {
	case os.Args[0] == launcherName:
		launcherMain()
	case os.Getenv(orderVariable) != "": // sandbox-exec keeps no name
		probeMain()
	case os.Args[0] == keeperName:
		keeperMain()
	}
}

// firstHigh is where a launcher keeps its own descriptor: above all that a plugin is
// given.
const firstHigh = 64

func launcherMain() {
	fd, err := unix.FcntlInt(statusFD, unix.F_DUPFD_CLOEXEC, firstHigh)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is started by an agent, not by hand\n", launcherName)
		os.Exit(exitLauncher)
	}
	status := os.NewFile(uintptr(fd), "status")
	fmt.Fprint(status, becomePlugin(status))
	os.Exit(exitLauncher)
}

// becomePlugin returns only with an error.
func becomePlugin(status *os.File) error {
	in := os.NewFile(orderFD, "order")
	var o order
	err := limits.DecodeJSON(in, maxOrder, &o)
	in.Close() // its number will be the plugin's
	if err != nil {
		return fmt.Errorf("read the launch order: %w", err)
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	return confine(o, status)
}
