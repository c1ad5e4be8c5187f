package agent

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/shared/internal/execution"
	"github.com/stavily/agents/shared/pkg/api"
)

// BenchmarkInstructionRecords is what an instruction waits for on disk, from its offer to
// its result: the journal alone, and with the audit log flushed beside it.
func BenchmarkInstructionRecords(b *testing.B) {
	for name, audited := range map[string]bool{"journal": false, "journal and audit": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			journal, _, err := execution.Open(filepath.Join(dir, "journal"), execution.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer journal.Close()
			var log *AuditLog
			if audited {
				log = audit.Open(filepath.Join(dir, "audit.log"), audit.Options{})
			}
			defer log.Close()
			beside := func(kind audit.Kind, id api.InstructionID, write func() error) {
				wait := log.Begin(kind, slog.String("instruction", string(id)), slog.Int("attempt", 1), slog.String("plugin", "disk-cleaner"))
				if err := write(); err != nil {
					b.Fatal(err)
				}
				if err := wait(); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				id := api.InstructionID(fmt.Sprintf("ins-%d", i))
				beside(AuditAccepted, id, func() error { return journal.Accept(api.Instruction{ID: id, Attempt: 1}) })
				beside(AuditRun, id, func() error { return journal.Starting(id, 1) })
				beside(AuditEnded, id, func() error { return journal.Ended(id, 1, api.Result{Status: api.Completed}) })
			}
		})
	}
}
