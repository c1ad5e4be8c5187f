package agent

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestSandboxCheck(t *testing.T) {
	table, said, err := command(t, sensorRole, "sandbox", "check")
	if err != nil || !strings.Contains(said, "defaults") {
		t.Errorf("on a host without an agent: %v, %q", err, said)
	}
	for _, part := range []string{"LEVEL", "(required: confined)", "SELF-TEST", "no_new_privs", "enforced"} {
		if !strings.Contains(table, part) {
			t.Errorf("the table lacks %q:\n%s", part, table)
		}
	}
	text, _, err := command(t, sensorRole, "sandbox", "check", "-o", "json")
	var got report
	if err != nil || json.Unmarshal([]byte(text), &got) != nil || got.Level == "" || got.Required != api.SandboxConfined || !got.Met {
		t.Errorf("as JSON: %v, %s", err, text)
	}
	if _, _, err := command(t, sensorRole, "sandbox", "check", "-o", "xml"); !errors.Is(err, errUsage) {
		t.Errorf("-o xml: %v", err)
	}
}

// What is required and not given is a failure, so that scripts can ask.
func TestSandboxCheckFails(t *testing.T) {
	weak := &sandbox.Host{Level: api.SandboxLimited, Missing: map[string]string{"landlock": "the kernel has none"}}
	var out strings.Builder
	posture := (&confinement{host: weak}).posture(weak.Level)
	if err := tellCheck(&out, &posture, api.SandboxConfined, "table"); !errors.Is(err, errTooWeak) {
		t.Errorf("error %v, want %v", err, errTooWeak)
	}
	if !strings.Contains(out.String(), "change: use a kernel of 5.13") {
		t.Errorf("it does not say what to change:\n%s", &out)
	}
}
