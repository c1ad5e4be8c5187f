package audit

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/lossyfs"
)

func init() {
	lossyfs.Children(map[string]lossyfs.Store{"audit": {Write: recordUntilCut, Read: readRecords}})
}

func recordUntilCut(dir string, durable func(string)) error {
	l := Open(dir+"/audit.log", Options{})
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if err := l.Record("tested", slog.String("id", id)); err != nil {
			return err
		}
		durable(id)
	}
}

// readRecords continues the chain, as an agent's start does, and says what it has.
func readRecords(dir string, there func(string)) error {
	l := Open(dir+"/audit.log", Options{})
	if err := l.Record("started"); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	report, err := Verify([]string{dir + "/audit.log"}, nil)
	if err != nil || len(report.Findings) > 0 {
		return fmt.Errorf("verify finds %v, %w", report.Findings, err)
	}
	text, err := limits.ReadFile(dir+"/audit.log", 64<<20)
	for line := range strings.Lines(string(text)) {
		if _, after, found := strings.Cut(line, `"id":"`); found {
			id, _, _ := strings.Cut(after, `"`)
			there(id)
		}
	}
	return err
}

// R6: what is on record stays so over a power cut, and the chain is whole.
func TestPowerCuts(t *testing.T) {
	if lost, cuts := lossyfs.Cuts(t, "audit"); cuts > 0 {
		t.Errorf("%d records were lost in %d cuts", lost, cuts)
	}
}

// R12: nothing is acknowledged that a failed write or fsync has kept from the disk, and the next
// process goes on.
func TestIOErrors(t *testing.T) {
	if lost, _ := lossyfs.Errors(t, "audit"); lost > 0 {
		t.Errorf("%d records were lost", lost)
	}
}
