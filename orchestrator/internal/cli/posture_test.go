package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestSandboxOfAnAgent(t *testing.T) {
	why := "clone(CLONE_NEWUSER): operation not permitted: in a container, pass --security-opt seccomp=…"
	a := operatorapi.Agent{ID: "web-01", Type: api.Action, Sandbox: &api.Posture{
		Level: api.SandboxConfined, Achieved: []string{api.AchievedMemory}, LandlockABI: 7, Kernel: "6.18.0", Memory: "cgroup2",
		Layers:   map[string]string{"landlock": "enforced", "memory": "enforced: cgroup v2", "namespaces": "unavailable: clone"},
		Missing:  map[string]string{"namespaces": why, "dev\x1b[2J": "not told among the layers"},
		SelfTest: &api.SelfTest{Passed: []string{"a", "b"}, Failed: []string{"c"}},
	}}
	var out strings.Builder
	if err := showSandbox(&out, &options{}, a.Sandbox); err != nil {
		t.Fatal(err)
	}
	want := `
Sandbox:               confined+memory
Kernel:                6.18.0
Memory limit held by:  cgroup2
Landlock ABI:          7
Self-test:             2 passed, 1 failed c

LAYER       STATE        MORE
landlock    enforced     -
memory      enforced     cgroup v2
namespaces  unavailable  ` + why + `
dev\x1b[2J  -            not told among the layers
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("agents show (-want +got):\n%s", diff)
	}
	if got, want := strings.Join(lacks(a), "; "), `namespaces: clone(CLONE_NEWUSER): operat…`; !strings.Contains(got, want) {
		t.Errorf("agents list says %q, want %q", got, want)
	}
	for _, p := range []*api.Posture{nil, {}, {Level: api.SandboxNone}} {
		out.Reset()
		if err := showSandbox(&out, &options{}, p); err != nil || strings.Contains(out.String(), "LAYER") || p == nil && out.Len() > 0 {
			t.Errorf("%+v is shown as %q, %v", p, out.String(), err)
		}
	}
}
