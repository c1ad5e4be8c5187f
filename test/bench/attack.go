package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// order is what an attacker is told: a process of its own, which in the world would be on another
// machine. Here it has the same processors, but only what nobody else wants of them (aside).
type order struct {
	Attack string           // one of attacks, or slowly
	Server simagents.Server // that is attacked
	Slow   int              // connections that send nothing of use
	Over   time.Duration    // for which the attack goes on
}

// slowly is the attack of connections that send nothing of use.
const slowly = "slow connections"

// attacker is such a process. It prepares itself, says so, and begins when it is told to.
type attacker struct {
	cmd  *exec.Cmd
	tell io.WriteCloser
	hear *json.Decoder
}

// attack starts an attacker and returns when it is ready.
func (b *bench) attack(ctx context.Context, o order) (*attacker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	a := &attacker{cmd: exec.CommandContext(ctx, self, "-attack", string(text))}
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if a.tell, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	a.hear = json.NewDecoder(out)
	start := aside
	if !b.real { // beside the tests of others it would get nothing
		start = (*exec.Cmd).Start
	}
	if err := start(a.cmd); err != nil {
		return nil, fmt.Errorf("start an attacker: %w", err)
	}
	var ready bool
	if err := a.hear.Decode(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", o.Attack, err), a.cmd.Wait())
	}
	return a, nil
}

// during attacks until ctx ends.
func (a *attacker) during(ctx context.Context) error {
	if _, err := a.tell.Write([]byte("go\n")); err != nil {
		return err
	}
	<-ctx.Done()
	return a.tell.Close()
}

// came waits for the end of an attack and tells what came of it.
func (a *attacker) came() (figures []Figure, err error) {
	err = a.hear.Decode(&figures)
	return figures, errors.Join(err, a.cmd.Wait())
}

// attackAs is the whole life of an attacker.
func attackAs(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	during, figures, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(true); err != nil {
		return err
	}
	if _, err := io.ReadFull(os.Stdin, make([]byte, len("go\n"))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Over)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed
		cancel()
	}()
	if err := during(ctx); err != nil {
		return err
	}
	return out.Encode(figures())
}

// prepare makes what an attack needs.
func (o order) prepare(ctx context.Context) (during func(context.Context) error, figures func() []Figure, err error) {
	if o.Attack == slowly {
		trust, err := stranger(o.Server)
		s := &slow{url: o.Server.URL, trust: trust, want: o.Slow, over: o.Over}
		return s.hold, s.figures, err
	}
	for _, a := range attacks {
		if a.name != o.Attack {
			continue
		}
		name := fmt.Sprintf("rogue-%d-", os.Getpid())
		agents, err := simagents.Enrol(ctx, o.Server, []simagents.Spec{{ID: api.AgentID(name + "s"), Type: api.Sensor}, {ID: api.AgentID(name + "a"), Type: api.Action}}, nil)
		if err != nil {
			return nil, nil, err
		}
		f := &flood{attack: a, sensor: agents[0], action: agents[1]}
		return f.storm, f.figures, nil
	}
	return nil, nil, fmt.Errorf("there is no attack %q", o.Attack)
}
