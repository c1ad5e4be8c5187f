package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// allow sets the highest level that an agent uses, from its next start on, and accepts
// what lower ones cannot hold.
func (w *world) allow(a *cluster.Agent, level api.SandboxLevel) {
	w.t.Helper()
	file := filepath.Join(a.Base, "config", "agent.yaml")
	text, err := os.ReadFile(file)
	w.must(err)
	before, _, _ := strings.Cut(string(text), "security:")
	w.must(os.WriteFile(file, fmt.Appendf(nil, "%ssecurity: {sandbox: {level: %s, require: limited, allow_port_level_egress: true}}\n", before, level), 0o600))
}

// reports waits for the posture that an agent's own heartbeat told.
func (w *world) reports(id api.AgentID) *api.Posture {
	w.t.Helper()
	var a agentRecord
	w.await(string(id)+" to tell its posture", func() error {
		a = cli[agentRecord](w, "agents", "show", string(id))
		if a.Status != "online" || a.Sandbox == nil {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	return a.Sandbox
}

// A step runs where its minimum is met, waits where it is not and says what it found,
// and goes on when somebody has mended the host.
func TestAStepMeetsItsSandbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(`name: careful
triggers:
  - event: old.chatty
actions:
  - id: easy
    plugin: old-stdio-action
    sandbox: limited
    with: {type: easy, data: 1}
  - id: hard
    needs: [easy]
    plugin: old-stdio-action
    sandbox: full
    with: {type: hard, data: 2}
`)
	fix := w.agent("web-01-fix", api.Action, []string{"old-stdio-action"}, nil)
	w.allow(fix, api.SandboxConfined)
	w.agent("web-01", api.Sensor, []string{"old-chatty-sensor"}, map[string]string{"chatty": "plugin: old-chatty-sensor\ninterval: 1s\n"})
	w.start("web-01-fix")
	posture := w.reports("web-01-fix")
	if !posture.Satisfies(api.SandboxLimited) || posture.Satisfies(api.SandboxFull) {
		t.Fatalf("an agent that may use confined at most reports %s", posture)
	}
	w.start("web-01")

	steps := func() (out run) {
		runs := w.runs()
		if len(runs) == 1 {
			out = w.show(runs[0].ID)
		}
		return out
	}
	why := fmt.Sprintf("needs sandbox full; web-01-fix reports %s", posture)
	w.await("the easy step to run and the hard one to wait", func() error {
		r := steps()
		if len(r.Steps) != 2 || r.Steps[1].Status != "pending" || !strings.HasPrefix(r.Steps[1].Message, why) {
			return fmt.Errorf("%+v, want the second to wait and say %q", r, why)
		}
		return nil
	})
	if easy := steps().Steps[0]; easy.Status != "completed" || !easy.Result.Sandbox.Satisfies(api.SandboxLimited) {
		t.Errorf("the easy step: %+v", easy)
	}

	w.must(w.Process("web-01-fix").Stop())
	w.allow(fix, api.SandboxFull)
	w.start("web-01-fix")
	if posture = w.reports("web-01-fix"); !posture.Satisfies(api.SandboxFull) {
		t.Skipf("this host gives no more than %s", posture)
	}
	r := w.awaitRun()
	if hard := r.Steps[1]; r.Status != "completed" || hard.Result.Sandbox.Level != api.SandboxFull {
		t.Errorf("the hard step on a host that gives it: %+v", hard)
	}
	var last struct{ Action, Detail string }
	for _, row := range cli[[]struct{ Action, Detail string }](w, "audit", "list", "--limit", "500") {
		if strings.HasPrefix(row.Action, "sandbox.") {
			last = row
		}
	}
	if last.Action != "sandbox.improved" || !strings.HasSuffix(strings.SplitN(last.Detail, ":", 2)[0], " → "+posture.String()) {
		t.Errorf("the change is on record as %+v", last)
	}
}

// docs/sandbox.md tells authors how it looks when something is refused.
func TestWhatIsRefused(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the table is of Linux")
	}
	for level, want := range map[api.SandboxLevel]map[string]string{
		api.SandboxFull: {
			"open": "FileNotFoundError ENOENT", "stat": "FileNotFoundError ENOENT", "write": "OSError EROFS",
			"execute temp": "PermissionError EACCES", "execute home": "PermissionError EACCES",
			"connect elsewhere": "ConnectionRefusedError ECONNREFUSED", "name elsewhere": "gaierror", "udp": "PermissionError EACCES", "raw": "PermissionError EACCES",
			"chmod": "works", "copy": "works", "fchmod": "works", "copyfile": "works", "processes": "works", "signal": "works", "pool": "works", "process": "works",
			"mount": "PermissionError EPERM", "memfd": "OSError ENOSYS", "big file": "OSError EFBIG", "files": "OSError ENOSPC",
		},
		api.SandboxConfined: {
			"open": "PermissionError EACCES", "stat": "works", "write": "PermissionError EACCES",
			"execute temp": "PermissionError EACCES", "execute home": "PermissionError EACCES",
			"connect elsewhere": "PermissionError EACCES", "name elsewhere": "gaierror", "udp": "PermissionError EACCES", "raw": "PermissionError EACCES",
			"chmod": "PermissionError EPERM", "copy": "PermissionError EPERM", "fchmod": "works", "copyfile": "works",
			"processes": "PermissionError EACCES", "signal": "PermissionError EPERM", "pool": "PermissionError EACCES", "process": "works",
			"mount": "PermissionError EPERM", "memfd": "OSError ENOSYS", "big file": "OSError EFBIG",
		},
	} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			skip := ""
			if level == api.SandboxConfined {
				skip = "files" // ends the run
			}
			w.apply("name: w\ntriggers:\n  - event: old.chatty\nactions:\n  - {plugin: refused-action, with: {skip: [" + skip + "]}}\n")
			a := w.agent("web-01-fix", api.Action, []string{"refused-action"}, nil)
			w.allow(a, level)
			w.agent("web-01", api.Sensor, []string{"old-chatty-sensor"}, map[string]string{"chatty": "plugin: old-chatty-sensor\ninterval: 1s\n"})
			w.start("web-01-fix", "web-01")
			if p := w.reports("web-01-fix"); p.Level != level {
				t.Skipf("this host gives %s, and %v is missing", p, p.Lacks())
			}
			r := w.awaitRun()
			var got map[string]string
			if err := json.Unmarshal(r.Steps[0].Result.Result, &got); err != nil {
				t.Fatalf("%v in %+v", err, r)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("at %s it looks otherwise than docs/sandbox.md says (-want +got):\n%s", level, diff)
			}
		})
	}
}
