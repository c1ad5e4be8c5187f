package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestPluginsFromPublishToRemove is what an operator types, and what is said to it.
func TestPluginsFromPublishToRemove(t *testing.T) {
	s := servertest.Start(t)
	a := s.Enrol(api.Action, "action-1", "a")
	if _, _, err := a.Assignments(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	key, dir := packtest.NewKey(t), t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	more := "permissions: {network: ['api.example:443']}"
	first, second := file("1.tar.gz", packtest.Pack(t, "cleaner", "1.0.0", key)), file("2.tar.gz", packtest.Pack(t, "cleaner", "1.1.0", key, more))
	unsigned, other := file("3.tar.gz", packtest.Pack(t, "cleaner", "1.2.0", nil)), file("4.tar.gz", packtest.Pack(t, "cleaner", "1.0.0", key, "description: x"))
	large := file("large", nil)
	if err := os.Truncate(large, api.MaxPackageBytes+1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want int
		says string // on either
	}{
		{"list", exitOK, "No packages."},
		{"publishers", exitOK, "No keys: every package is taken."},
		{"trust " + file("release.pub", []byte(key.Key().Line()+"\n")), exitOK, key.Key().Fingerprint()},
		{"publish " + unsigned, exitFailed, "stavily plugin sign"},
		{"publish " + large, exitFailed, "at most 64 MiB"},
		{"publish " + file("text", []byte("hello")), exitFailed, "is not a gzip file"},
		{"publish " + filepath.Join(dir, "nothing"), exitFailed, "no such file"},
		{"publish " + first, exitOK, "cleaner 1.0.0 is published.\nIt asks to reach nothing."},
		{"publish " + first, exitOK, "was published before"},
		{"publish " + other, exitFailed, "a version never changes; give this one a higher version"},
		{"show cleaner", exitOK, "Assigned to nobody."},
		{"show nothing", exitFailed, "no \"nothing\" here"},
		{"rollout resume cleaner", exitFailed, "assigned to nobody"},
		{"assign cleaner", exitUsage, "exactly one of --agent ID, --tag TAG and --all"},
		{"assign cleaner --all --agent action-1", exitUsage, "exactly one of"},
		{"assign cleaner --all --settle 1ms", exitUsage, "whole seconds"},
		{"assign cleaner@^2 --all", exitFailed, "published are 1.0.0"},
		{"assign cleaner@^1 --agent action-1", exitOK, "cleaner is assigned to agent:action-1 in the range ^1, now 1.0.0."},
		{"rollout show cleaner", exitOK, "rolling one"},
		{"rollout resume cleaner", exitFailed, "nothing to resume"},
		{"publish " + second, exitOK, "+ network api.example:443\nNo agent gets it before that is approved: stavily plugins approve cleaner@1.1.0"},
		{"rollout show", exitOK, "1.1.0 asks for what 1.0.0 does not: network api.example:443."},
		{"approve cleaner", exitUsage, "must be ID@VERSION"},
		{"approve cleaner@9.9.9", exitFailed, "is not published"},
		{"approve cleaner@1.1.0", exitOK, "cleaner 1.1.0 is approved."},
		{"rollout show", exitOK, "rolling one"},
		{"list", exitOK, "release"},
		{"remove cleaner@1.1.0", exitFailed, "assign another version or unassign it first"},
		{"rollout abort cleaner", exitOK, "idle"},
		{"rollout at-once cleaner --agent action-1", exitOK, "rolling all"},
		{"unassign cleaner --all", exitFailed, "not assigned to \"all\""},
		{"unassign cleaner --agent action-1", exitOK, "not assigned to agent:action-1 any more"},
		{"remove cleaner@1.1.0", exitOK, "cleaner 1.1.0 is removed."},
		{"assign cleaner@^1 --agent actoin-1", exitOK, "Warning: No agent with the id actoin-1 is enrolled yet"},
		{"unassign cleaner --agent actoin-1", exitOK, "not assigned to agent:actoin-1 any more"}, // as the warning says
		{"distrust " + key.Key().Fingerprint(), exitOK, "not trusted any more"},
		{"distrust " + key.Key().Fingerprint(), exitFailed, "stavily plugins publishers"},
		{"publish " + unsigned, exitOK, "cleaner 1.2.0 is published."},
	} {
		code, stdout, stderr := run(t, append([]string{"--data-dir", s.DataDir, "plugins"}, strings.Fields(c.line)...)...)
		if code != c.want || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("stavily plugins %s = %d\n%s%s\nwant %d and %q", c.line, code, stdout, stderr, c.want, c.says)
		}
	}
}

// TestAssignWarnsOfNobody holds that what is assigned to nobody who is there says so, also to programs, and
// that it says nothing of agents that are.
func TestAssignWarnsOfNobody(t *testing.T) {
	s := servertest.Start(t)
	s.Enrol(api.Action, "action-1", "a")
	s.Enrol(api.Action, "action-2", "b")
	s.Enrol(api.Sensor, "sensor-1", "c")
	s.Do("POST", "/api/v1/agents/action-2/revoke", operatorapi.RevokeRequest{}, nil)
	file := filepath.Join(t.TempDir(), "1.tar.gz")
	if err := os.WriteFile(file, packtest.Pack(t, "cleaner", "1.0.0", nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(t, "--data-dir", s.DataDir, "plugins", "publish", file); code != exitOK {
		t.Fatal(errs)
	}
	for _, c := range []struct{ selector, warns string }{
		{"--all", ""},
		{"--agent action-1", ""},
		{"--tag host:a", ""},
		{"--agent action-2", "the id action-2 "}, // it is revoked
		{"--agent action-3", "the id action-3 "},
		{"--tag role:wbe", "the tag role:wbe "},
		{"--agent sensor-1", "(sensor-1 is of type sensor: those run no plugins of type action)"},
		{"--tag host:c", "(sensor-1 is of type sensor: those run no plugins of type action)"},
	} {
		args := append([]string{"--data-dir", s.DataDir, "plugins", "assign", "cleaner", "-o", "json"}, strings.Fields(c.selector)...)
		code, out, errs := run(t, args...)
		var a operatorapi.Assigned
		if err := json.Unmarshal([]byte(out), &a); err != nil || code != exitOK {
			t.Fatalf("%s = %d, %v\n%s%s", c.selector, code, err, out, errs)
		}
		if all := strings.Join(a.Warnings, "\n"); (all == "") != (c.warns == "") || !strings.Contains(all, c.warns) || !strings.Contains(errs, c.warns) {
			t.Errorf("%s warns %q and %q, want of %q", c.selector, all, errs, c.warns)
		}
	}
}
