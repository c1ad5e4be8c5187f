package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

func TestWorkflowsRun(t *testing.T) {
	s := servertest.Start(t)
	s.Apply("name: w\ntriggers: [{manual: {inputs: {mount: {required: true}, days: {type: integer, default: 7}}}}]\ncooldown: 1h\nwhen: inputs.mount != '/'\nactions: [{plugin: p, agents: {ids: [a]}}]\n")
	stavily := func(want int, args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := run(t, append([]string{"--data-dir", s.DataDir}, args...)...)
		if code != want {
			t.Fatalf("%v = %d: %s%s", args, code, out, errs)
		}
		return out, errs
	}
	if _, errs := stavily(exitFailed, "workflow", "run", "w", "--by", "ann"); !strings.Contains(errs, "input mount is missing: --input mount=") {
		t.Errorf("without an input: %s", errs)
	}
	if _, errs := stavily(exitFailed, "workflow", "run", "w", "--input", "mount=/"); !strings.Contains(errs, "no run was started: when is not met: inputs.mount") {
		t.Errorf("what its condition refuses: %s", errs)
	}
	out, _ := stavily(exitOK, "workflow", "run", "w", "--input", "mount=/var,days=3", "--by", "ann", "-o", "json")
	var v operatorapi.Evaluation
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Run == nil || v.Event == "" || v.Run.Status != "running" {
		t.Fatalf("%s: %v", out, err)
	}
	out, errs := stavily(exitFailed, "workflow", "run", "w", "--input", "mount=/var")
	if !strings.Contains(errs, "no run was started: cooldown, ") {
		t.Errorf("within the cooldown: %s", errs)
	}
	id := regexp.MustCompile(`Event (\S+)`).FindStringSubmatch(out)
	if id == nil {
		t.Fatalf("no event in %s", out)
	}
	if out, _ := stavily(exitOK, "explain", id[1]); !strings.Contains(out, "did not run: cooldown, ") || !strings.Contains(out, "trigger by hand") {
		t.Errorf("explained %s", out)
	}
	if out, _ := stavily(exitOK, "explain", string(v.Event)); !strings.Contains(out, "started run "+string(v.Run.ID)) {
		t.Errorf("explained %s", out)
	}
	stavily(exitFailed, "workflow", "run", "nothing")
}
