package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// stopLimit is how long a process may take to end by itself after it was asked to.
const stopLimit = time.Minute

// Process is one child. Done is closed when it ended and was reaped.
type Process struct {
	Name string
	Done <-chan struct{}

	cmd *exec.Cmd
	err error // set before Done is closed
}

// start runs a program whose output goes to out as it comes.
func start(name string, out io.Writer, path string, args, env []string) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd) // Ctrl-C at a terminal is for the parent: it stops the children in order
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	done := make(chan struct{})
	p := &Process{Name: name, Done: done, cmd: cmd}
	go func() {
		p.err = cmd.Wait()
		close(done)
	}()
	return p, nil
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process at once, as a crash would (SIGKILL), and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself, which is what is wanted
	<-p.Done
}

// Stop asks the process to end (SIGTERM) and waits; one that does not is killed
// and reported.
func (p *Process) Stop() error {
	if err := terminate(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	select {
	case <-p.Done:
	case <-time.After(stopLimit):
		p.Kill()
		return fmt.Errorf("stop %s: did not end within %v and was killed", p.Name, stopLimit)
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, p.err)
	}
	return nil
}

// Ended says how a process that is done ended; nil for exit code 0.
func (p *Process) Ended() error {
	<-p.Done
	return p.err
}

// await asks probe until it says yes, the process it depends on ends, or ctx does.
func await(ctx context.Context, p *Process, what string, probe func() bool) error {
	const pause = 5 * time.Millisecond // a person does not notice it, a loaded machine does not suffer from it
	for !probe() {
		select {
		case <-p.Done:
			return fmt.Errorf("%s: %s ended: %w", what, p.Name, errors.Join(p.err, errEnded))
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(pause):
		}
	}
	return nil
}

var errEnded = errors.New("the process is gone; its log says why")
