package execution

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/lossyfs"
	"github.com/stavily/agents/shared/pkg/api"
)

func init() {
	lossyfs.Children(map[string]lossyfs.Store{"journal": {Write: liveUntilCut, Read: readPhases}})
}

// liveUntilCut takes attempts through their lives.
func liveUntilCut(dir string, durable func(string)) error {
	j, _, err := Open(dir+"/journal", Options{})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		id := api.InstructionID(fmt.Sprintf("i%d-%d", os.Getpid(), n))
		for _, step := range []func() error{
			func() error { return j.Accept(instruction(string(id), 1)) },
			func() error { return j.Starting(id, 1) },
			func() error { return j.Ended(id, 1, completed()) },
		} {
			if err := step(); err != nil {
				return err
			}
			durable(string(id) + " " + string(j.entries[Key{id, 1}].Phase))
		}
	}
}

// readPhases says each phase that an attempt is known to have come to.
func readPhases(dir string, there func(string)) error {
	j, damage, err := Open(dir+"/journal", Options{})
	if err != nil {
		return err
	}
	if damage != "" && !strings.Contains(damage, "cut short") {
		return fmt.Errorf("the journal is damaged: %s", damage)
	}
	for _, e := range j.Unreported() {
		there(string(e.ID) + " " + string(Accepted))
		if string(e.Result.ErrorDetails) != `{"started":false}` {
			there(string(e.ID) + " " + string(Started))
		}
		if e.Result.Status == api.Completed {
			there(string(e.ID) + " " + string(Ended))
		}
	}
	return nil
}

// R6: what the journal has confirmed is known after a power cut, so that nothing runs twice
// and no result is lost.
func TestPowerCuts(t *testing.T) {
	if lost, cuts := lossyfs.Cuts(t, "journal"); cuts > 0 {
		t.Errorf("%d confirmed steps were lost in %d cuts", lost, cuts)
	}
}

// R12: nothing is acknowledged that a failed write or fsync has kept from the disk, and the next
// process goes on.
func TestIOErrors(t *testing.T) {
	if lost, _ := lossyfs.Errors(t, "journal"); lost > 0 {
		t.Errorf("%d confirmed steps were lost", lost)
	}
}
