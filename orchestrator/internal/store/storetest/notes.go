package storetest

import (
	"testing"

	"github.com/stavily/agents/orchestrator/internal/store"
)

// Note is a transaction that adds an audit record with detail.
func Note(detail string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.AddAudit(store.Audit{Detail: detail}) }
}

// Notes are the details of all audit records of organisation o.
func Notes(t testing.TB, s store.Store) []string {
	t.Helper()
	var out []string
	err := s.Org("o").View(t.Context(), func(r store.Reader) error {
		for after := int64(0); ; {
			page, err := r.Audit(after, 1000)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, a := range page {
				out, after = append(out, a.Detail), a.Seq
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
