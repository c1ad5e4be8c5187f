package storetest

import (
	"errors"
	"reflect"
	"slices"
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

// CheckKept reads what Fill wrote with every query but those named, which must find nothing.
func CheckKept(t *testing.T, s store.Store, org api.OrgID, lost ...string) {
	t.Helper()
	err := s.Org(org).View(t.Context(), func(r store.Reader) error {
		for _, p := range probes() {
			got, err := p.ask(r)
			gone := slices.Contains(lost, p.name)
			if gone != errors.Is(err, store.ErrNotFound) || !gone && (err != nil || !reflect.DeepEqual(got, p.want("filled"))) {
				t.Errorf("%s: %+v, %v; to be lost: %v", p.name, got, err, gone)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
