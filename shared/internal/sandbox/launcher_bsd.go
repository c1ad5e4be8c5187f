//go:build unix && !linux

package sandbox

import (
	"fmt"
	"os"
	"runtime"

	"github.com/stavily/agents/internal/limits"
)

// exitLauncher is the exit code of a launcher that could not become the plugin;
// 125 is what env(1) and docker(1) use for it.
const exitLauncher = 125

// Main turns this process into a launcher when it was started as one, and then
// never returns. It must be the first statement of main, before flags are read or
// files opened. In every other process it does nothing.
func Main() {
	if len(os.Args) != 1 || os.Args[0] != launcherName {
		return
	}
	runtime.LockOSThread() // privileges and the death signal belong to a thread
	status := os.NewFile(statusFD, "status")
	err := becomePlugin(status)
	fmt.Fprint(status, err)
	os.Exit(exitLauncher)
}

// becomePlugin returns only with an error.
func becomePlugin(status *os.File) error {
	in := os.NewFile(orderFD, "order")
	if in == nil || status == nil {
		return fmt.Errorf("%s is started by an agent, not by hand", launcherName)
	}
	var o order
	if err := limits.DecodeJSON(in, maxOrder, &o); err != nil {
		return fmt.Errorf("read the launch order: %w", err)
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	if info, err := os.Stat(o.Path); err != nil {
		return err
	} else if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s: is not an executable file: chmod +x it", o.Path)
	}
	return confine(o, status)
}
