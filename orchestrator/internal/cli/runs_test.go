package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestTrafficOfARun(t *testing.T) {
	steps := []operatorapi.Step{{Step: "wait"}, {Step: "quiet", Result: &api.Result{}}, {Step: "tell", Attempt: 2, Result: &api.Result{Network: []api.Traffic{
		{Destination: "a.example:443", Addresses: []string{"192.0.2.7", "2001:db8::1"}, Connections: 3, BytesSent: 10, BytesReceived: 2000},
		{Destination: "b.example:80", Refused: 1, Failed: 2, Shared: 1, LastError: "no\x1b[2J"},
	}}}}
	var out strings.Builder
	if err := showTraffic(&out, &options{}, steps); err != nil {
		t.Fatal(err)
	}
	want := `
STEP  ATTEMPT  DESTINATION    CONNECTIONS  REFUSED  FAILED  SHARED  SENT  RECEIVED  ADDRESSES              LAST ERROR
tell  2        a.example:443  3            0        0       0       10 B  2000 B    192.0.2.7 2001:db8::1  -
tell  2        b.example:80   0            1        2       1       0 B   0 B       -                      no\x1b[2J
`
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(out.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := showTraffic(&out, &options{}, steps[:2]); err != nil || out.Len() > 0 {
		t.Errorf("of steps that talked to nobody it prints %q, %v", out.String(), err)
	}
}
