package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// probeName is argv[0] of a probe. No program of ours is installed under it.
const probeName = "stavily-probe"

// probeOrder is what a probe is told, in its environment: it has nothing to hide.
type probeOrder struct {
	Level  Level
	Proc   bool
	Broker bool
	ABI    int

	Integrity bool // of Windows: its integrity level is low

	Agent    int    // process id of the agent
	Temp     string // is its own
	Socket   string // a Unix socket that it may connect to
	Secret   string // a file of the agent's
	Stranger string // a Unix socket of the agent's that it may not connect to
	Abstract string // the same without a name in the file system
	TCP      string // a listener of the agent's
}

const orderVariable = "STAVILY_PROBE"

// probeMain tries what must work and what must not, and tells on standard output.
func probeMain() {
	var o probeOrder
	if err := json.Unmarshal([]byte(os.Getenv(orderVariable)), &o); err != nil {
		fmt.Fprintln(os.Stderr, probeName, "is started by an agent, not by hand:", err)
		os.Exit(exitLauncher)
	}
	out := bufio.NewWriter(os.Stdout)
	encode := json.NewEncoder(out)
	for _, t := range trials {
		if t.applies != nil && !t.applies(&o) {
			continue
		}
		c := Check{Level: o.Level, Name: t.name, Passed: true}
		if err := t.try(&o); err != nil {
			c.Passed, c.Detail = false, err.Error()
		}
		if err := encode.Encode(c); err != nil {
			os.Exit(exitLauncher)
		}
	}
	if out.Flush() != nil {
		os.Exit(exitLauncher)
	}
	os.Exit(0)
}

// trial is one control: an error says that it did not come out as it must.
type trial struct {
	name    string
	applies func(*probeOrder) bool
	try     func(*probeOrder) error
}

func above(least Level, and func(*probeOrder) bool) func(*probeOrder) bool {
	return func(o *probeOrder) bool { return o.Level.AtLeast(least) && (and == nil || and(o)) }
}

// mustFail turns success into an error: what was tried must fail.
func mustFail(err error) error {
	if err == nil {
		return errors.New("it worked")
	}
	return nil
}

func writesTemp(o *probeOrder) error {
	path := filepath.Join(o.Temp, "probe")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		return err
	}
	_, err := limits.ReadFile(path, 1)
	return err
}

// startsPrograms runs the first of these that there is.
func startsPrograms(*probeOrder) error {
	for _, path := range []string{"/usr/bin/true", "/bin/true", "/run/current-system/sw/bin/true"} {
		if _, err := os.Stat(path); err == nil {
			return exec.Command(path).Run()
		}
	}
	return nil
}

func connects(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}
