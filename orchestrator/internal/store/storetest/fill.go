package storetest

import (
	"testing"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Fill writes a record of every kind into an organisation.
func Fill(t *testing.T, s store.Store, org api.OrgID) {
	t.Helper()
	if err := s.Org(org).Update(t.Context(), everything("filled")); err != nil {
		t.Fatal(err)
	}
}

// CheckFilled reads what Fill wrote with every query.
func CheckFilled(t *testing.T, s store.Store, org api.OrgID) {
	t.Helper()
	f := &fixture{T: t, store: s}
	f.checkProbes("filled", org, "filled")
}
