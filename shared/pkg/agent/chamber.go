package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/shared/internal/agentsocket"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/internal/warm"
)

// chamber is the private directory of a process, with its socket.
type chamber struct {
	dir     string
	socket  *agentsocket.Place
	standby *supervise.Standby // the process, where it is forked; nil where it is started
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

// leave ends the process, where it is forked and still there.
func (c *chamber) leave() error {
	if c.standby == nil {
		return nil
	}
	return c.standby.Close()
}

// Close takes away one that was not used.
func (c *chamber) Close() error {
	return errors.Join(c.leave(), c.socket.Close(), os.RemoveAll(c.dir))
}

// chamberFor is the chamber of a task's process: one that was made ahead, or a new one.
func (p *Plugins) chamberFor(t Task) (*chamber, error) {
	if t.seat != nil {
		if c, ok := t.seat.Kept().(*chamber); ok {
			if c.standby.Waits() {
				return c, nil
			}
			c.Close()
		}
		return seatChamber(t.seat, t.outfit.spec)
	}
	c, err := newChamber(tempOf(p.rt.Config().Agent.BaseDir), tempPrefix+string(t.Plugin.ID)+"-")
	if err != nil {
		return nil, fmt.Errorf("prepare for a process of %s: %w", t.Plugin.ID, err)
	}
	return c, nil
}

// seatChamber makes a chamber with a process in it that stands by. The error wraps warm.ErrCold.
func seatChamber(seat *warm.Seat, spec sandbox.Spec) (*chamber, error) {
	c, err := newChamber(seat.Given(), "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", warm.ErrCold, err)
	}
	if filepath.Dir(c.socket.Path()) != c.dir {
		err = fmt.Errorf("%w: the path of its socket would be too long", warm.ErrCold)
	} else {
		c.standby, err = seat.Stand(spec, c.dir)
	}
	if err != nil {
		c.Close() // what resists is swept at the agent's next start
		return nil, err
	}
	return c, nil
}

// makeAhead makes the chamber of the next run that is forked from the same process, with the file
// of its input and the process itself, and gives the seat back: the next one then only waits for
// the right to start, and what is made on the disk costs most while files are made durable, as each
// run's are when it begins.
func (p *Plugins) makeAhead(seat *warm.Seat, spec sandbox.Spec) {
	defer seat.Free()
	if !seat.Wants() {
		return
	}
	c, err := seatChamber(seat, spec)
	if err == nil {
		if err = os.WriteFile(filepath.Join(c.dir, inputFile), nil, 0o600); err != nil {
			c.Close()
		}
	}
	if err != nil {
		seat.Keep(nil) // who needs one says why there is none
		return
	}
	seat.Keep(c)
}
