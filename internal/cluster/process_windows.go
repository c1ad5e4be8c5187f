package cluster

import (
	"errors"
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// terminate can only kill here: there is no signal for another console's process.
func terminate(p *os.Process) error { return p.Kill() }

var errNoPause = errors.New("a process cannot be paused on Windows")

// Pause is not offered by this system.
func (p *Process) Pause() error { return errNoPause }

// Resume is not offered by this system.
func (p *Process) Resume() error { return errNoPause }
