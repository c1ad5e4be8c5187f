package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// trials begin with what a plugin cannot do without: a level at which nothing works
// refuses every attack, and proves nothing.
var trials = []trial{
	{"reads system files", nil, func(*probeOrder) error { _, err := os.ReadDir("/usr/lib"); return err }},
	{"writes its temporary directory", nil, writesTemp},
	{"uses /dev/null", nil, func(*probeOrder) error { return os.WriteFile("/dev/null", []byte("x"), 0) }},
	{"starts programs", nil, startsPrograms},
	{"connects to its agent socket", nil, func(o *probeOrder) error { return connects("unix", o.Socket) }},
	{"cannot read the agent's files", above(Confined, nil), func(o *probeOrder) error { _, err := os.ReadFile(o.Secret); return mustFail(err) }},
	{"cannot write the agent's files", above(Confined, nil), func(o *probeOrder) error { return mustFail(os.WriteFile(o.Secret+".new", nil, 0o600)) }},
	{"cannot change the agent's files", above(Confined, nil), func(o *probeOrder) error { return mustFail(os.Chmod(o.Secret, 0o644)) }},
	{"cannot write for all", above(Confined, nil), func(o *probeOrder) error { return mustFail(os.WriteFile("/private/tmp/.stavily-probe", nil, 0o600)) }},
	{"cannot connect to other sockets", above(Confined, nil), func(o *probeOrder) error { return mustFail(connects("unix", o.Stranger)) }},
	{"cannot reach the network", above(Confined, nil), func(o *probeOrder) error { return mustFail(connects("tcp", o.TCP)) }},
	{"cannot signal the agent", above(Confined, nil), func(o *probeOrder) error { return mustFail(unix.Kill(o.Agent, 0)) }},
}
