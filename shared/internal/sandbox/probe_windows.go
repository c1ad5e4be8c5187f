package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
)

// trials begin with what a plugin cannot do without: a level at which nothing works
// refuses every attack, and proves nothing.
var trials = []trial{
	{"reads system files", nil, func(*probeOrder) error { _, err := os.ReadDir(os.Getenv("SystemRoot")); return err }},
	{"writes its temporary directory", nil, writesTemp},
	{"starts programs", nil, func(*probeOrder) error {
		return exec.Command(filepath.Join(os.Getenv("SystemRoot"), "System32", "hostname.exe")).Run()
	}},
	{"connects to its agent socket", nil, func(o *probeOrder) error { return connects("unix", o.Socket) }},
	{"cannot write the agent's files", lowered, func(o *probeOrder) error { return mustFail(os.WriteFile(o.Secret+".new", nil, 0o600)) }},
	{"cannot change the agent's files", lowered, func(o *probeOrder) error { return mustFail(os.WriteFile(o.Secret, nil, 0o600)) }},
}

func lowered(o *probeOrder) bool { return o.Integrity }
