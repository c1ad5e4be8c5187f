package sandbox

import (
	"os"
	"testing"
)

// An agent that is a container's first process is no other process to a probe that is
// process 1 of its own.
func TestSignalsToTheFirstProcess(t *testing.T) {
	if err := cannotSignalAgent(&probeOrder{Agent: os.Getpid()}); err != nil {
		t.Errorf("a probe whose number is the agent's: %v", err)
	}
	if err := cannotSignalAgent(&probeOrder{Agent: os.Getppid()}); err == nil {
		t.Error("a probe that can signal another process is taken for confined")
	}
}
