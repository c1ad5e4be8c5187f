package supervise

import (
	"os"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// Standby is a process that was forked from one with which the handshake was done, and that
// waits for its environment and one command. One goroutine uses it at a time.
type Standby struct{ piped }

// NewStandby has fork start such a process with these standard files. It is adopted
// ([sandbox.Adopt]), and begins with the run that it is given to.
func NewStandby(fork func(stdin, stdout, stderr *os.File) (*sandbox.Process, error)) (*Standby, error) {
	p, err := withPipes(fork)
	if err != nil {
		return nil, err
	}
	return &Standby{p}, nil
}

// Waits reports whether the process is still there.
func (s *Standby) Waits() bool {
	select {
	case <-s.process.Done():
		return false
	default:
		return true
	}
}

// Close ends the process where no run has. The error is for what does not die.
func (s *Standby) Close() error {
	s.process.Kill(0)
	s.closeOurs()
	_, err := s.process.Wait()
	return err
}
