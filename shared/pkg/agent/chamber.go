package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/shared/internal/agentsocket"
	"github.com/stavily/agents/shared/internal/warm"
)

// chamber is the private directory of a process to be, with its socket.
type chamber struct {
	dir    string
	socket *agentsocket.Place
}

// newChamber makes one below parent.
func newChamber(parent, name string) (c *chamber, err error) {
	c = &chamber{}
	if c.dir, err = os.MkdirTemp(parent, name); err != nil {
		return nil, fmt.Errorf("make a private directory: %w", err)
	}
	dir, err := filepath.EvalSymlinks(c.dir) // the sandbox follows no link
	if err == nil {
		c.dir = dir
		c.socket, err = agentsocket.Open(dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(c.dir))
	}
	return c, nil
}

// Close takes away one that was not used.
func (c *chamber) Close() error { return errors.Join(c.socket.Close(), os.RemoveAll(c.dir)) }

// chamberFor is the chamber of a task's process: one that was made ahead, or a new one.
func (p *Plugins) chamberFor(t Task) (*chamber, error) {
	parent, name := tempOf(p.rt.Config().Agent.BaseDir), tempPrefix+string(t.Plugin.ID)+"-"
	if t.seat != nil {
		if c, ok := t.seat.Kept().(*chamber); ok {
			return c, nil
		}
		parent, name = t.seat.Given(), ""
	}
	c, err := newChamber(parent, name)
	if err != nil {
		return nil, fmt.Errorf("prepare for a process of %s: %w", t.Plugin.ID, err)
	}
	return c, nil
}

// makeAhead makes the chamber of the next run that is forked from the same process, with the file
// of its input, and gives the seat back. What is made on the disk costs most while files are made
// durable, as each run's are when it begins.
func (p *Plugins) makeAhead(seat *warm.Seat) {
	defer seat.Free()
	c, err := newChamber(seat.Given(), "")
	if err != nil {
		return // who needs one says why there is none
	}
	if os.WriteFile(filepath.Join(c.dir, inputFile), nil, 0o600) != nil {
		c.Close()
		return
	}
	seat.Keep(c)
}
