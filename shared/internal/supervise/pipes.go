package supervise

import (
	"fmt"
	"os"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// pipes are a plugin's standard streams: three ends are the plugin's, three ours.
type pipes struct {
	stdin, stdout, stderr *os.File // the plugin's
	feed, out, errs       *os.File // ours
}

func openPipes() (p pipes, err error) {
	defer func() {
		if err != nil {
			p.closeTheirs()
			p.closeOurs()
		}
	}()
	if p.stdin, p.feed, err = os.Pipe(); err != nil {
		return p, err
	}
	if p.out, p.stdout, err = os.Pipe(); err != nil {
		return p, err
	}
	p.errs, p.stderr, err = os.Pipe()
	return p, err
}

// piped is a process with our ends of its pipes.
type piped struct {
	pipes
	process *sandbox.Process
}

// withPipes has start start a process with these standard files.
func withPipes(start func(stdin, stdout, stderr *os.File) (*sandbox.Process, error)) (out piped, err error) {
	if out.pipes, err = openPipes(); err != nil {
		return piped{}, fmt.Errorf("start plugin: %w", err)
	}
	out.process, err = start(out.stdin, out.stdout, out.stderr)
	out.closeTheirs()
	if err != nil {
		out.closeOurs()
		return piped{}, err
	}
	return out, nil
}

// closeTheirs closes what the plugin has copies of, so that our reading ends with
// it. Closing a nil file is harmless.
func (p *pipes) closeTheirs() {
	p.stdin.Close()
	p.stdout.Close()
	p.stderr.Close()
}

func (p *pipes) closeOurs() {
	p.feed.Close()
	p.out.Close()
	p.errs.Close()
}

// restLimit is how long reading what a dead plugin left in its pipes may take.
const restLimit = 5 * time.Second

// endWithIt bounds the reading once the process is gone. Only a process that even
// SIGKILL did not end can still hold the other end.
func (p *piped) endWithIt() {
	<-p.process.Done()
	p.out.SetReadDeadline(time.Now().Add(restLimit))
	p.errs.SetReadDeadline(time.Now().Add(restLimit))
}
