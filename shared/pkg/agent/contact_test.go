package agent

import (
	"errors"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestWhatACallTellsAboutTheConnection(t *testing.T) {
	for _, c := range []struct {
		err  error
		want contact
	}{
		{nil, answered},
		{api.Errorf(api.CodeConflict, ""), answered}, // a stale lease is an answer
		{api.Errorf(api.CodeInvalid, ""), answered},
		{api.Errorf(api.CodeInternal, ""), answered}, // one call that fails is no outage
		{api.Errorf(api.CodeUnavailable, ""), unreachable},
		{api.Errorf(api.CodeRateLimited, ""), unreachable},
		{&api.UnreachableError{Kind: api.KindNetwork}, unreachable},
		{errors.New("connection refused"), unreachable},
		{api.Errorf(api.CodeRevoked, ""), refused},
		{api.Errorf(api.CodeBadCertificate, ""), refused},
	} {
		if got := contactOf(c.err); got != c.want {
			t.Errorf("contactOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}
