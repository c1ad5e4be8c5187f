//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
)

// What changes of plugins, and what this host refuses, is recorded.
func TestPluginChangesAreAudited(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"greedy": scripted + "permissions: {filesystem: {write: [/etc]}}\n---\n" + says(`{}`),
		"barred": scripted + "---\n" + says(`{}`),
	}, "STAVILY_PLUGINS_BLOCKED_PLUGINS=barred", "STAVILY_SECURITY_SANDBOX_WRITE=/srv")
	isRecorded(t, h.rt, AuditDenied, `"what":"plugin"`, `"name":"barred"`, "blocked_plugins")
	isRecorded(t, h.rt, AuditPluginActivated, `"plugin":"greedy"`, `"version":"1.0.0"`, `"from":"directory"`)

	from := catalog.Origin{Kind: catalog.FromDirectory, From: "/elsewhere", Signer: "ops"}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		if _, err := h.Install(t.Context(), h.aside("id: tidy\nversion: "+version+"\n"+scripted, says(`{}`)), from, nil); err != nil {
			t.Fatal(err)
		}
	}
	isRecorded(t, h.rt, AuditPluginActivated, `"plugin":"tidy"`, `"version":"1.1.0"`, `"before":"1.0.0"`, `"digest":"sha256:`, `"signer":"ops"`)
	if err := h.SetEnabled("tidy", false); err != nil {
		t.Fatal(err)
	}
	isRecorded(t, h.rt, AuditPluginSwitched, `"plugin":"tidy","enabled":false`)
	if err := h.Remove("tidy"); err != nil {
		t.Fatal(err)
	}
	isRecorded(t, h.rt, AuditPluginRemoved, `"plugin":"tidy"`, `"version":"1.1.0"`)

	if got := h.Execute(t.Context(), h.order("greedy", nil)); got.Status != api.Completed {
		t.Fatalf("%+v", got)
	}
	isRecorded(t, h.rt, AuditDenied, `"what":"permission"`, `"plugin":"greedy"`, "/etc")
	got := h.Execute(t.Context(), h.order("greedy", func(i *api.Instruction) { i.PluginConfiguration.Arguments = []string{"-x"} }))
	if got.Status != api.Failed {
		t.Fatalf("%+v", got)
	}
	isRecorded(t, h.rt, AuditDenied, `"what":"instruction_settings"`, `"plugin":"greedy"`, "does not allow")
}

// Without a record nothing of what is installed changes (G8).
func TestNoPluginChangesWithoutAudit(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"stays": scripted + "---\n" + says(`{"is": 1}`)})
	file := h.rt.Config().Security.Audit.File
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	from := catalog.Origin{Kind: catalog.FromDirectory, From: "/elsewhere"}
	for what, do := range map[string]func() error{
		"install": func() error {
			_, err := h.Install(t.Context(), h.aside("id: tidy\nversion: 1.0.0\n"+scripted, says(`{}`)), from, nil)
			return err
		},
		"disable": func() error { return h.SetEnabled("stays", false) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "write the audit log") {
			t.Errorf("%s: %v, want that it cannot be recorded", what, err)
		}
	}
	if _, err := h.Find("tidy"); err == nil {
		t.Error("a version is in use that was not recorded")
	}
	if _, err := h.Find("stays"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := h.SetEnabled("stays", false); err != nil {
		t.Error(err)
	}
	report, err := audit.Verify([]string{file + ".1", file}, nil)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("%v, %v: the chain goes on in the new file", report.Findings, err)
	}
	if entries := names(t, filepath.Dir(file)); len(entries) != 3 {
		t.Errorf("left %v", entries)
	}
}

// Refused connections are recorded: the first at once, more of them by their number.
func TestRefusedConnectionsAreRecordedTogether(t *testing.T) {
	rt, _ := audited(t, api.Action)
	synctest.Test(t, func(t *testing.T) {
		away := newTurnedAway(rt)
		for range 50 {
			away.note("p", "db.internal:5432", "leads to 10.0.0.1")
		}
		time.Sleep(turnedAwayEvery + time.Second)
		away.note("p", "db.internal:5432", "leads to 10.0.0.1")
		away.note("p", "other.internal:1", "leads to 10.0.0.2")
		away.close()
	})
	var got []string
	for _, r := range recorded(t, rt) {
		_, count, _ := strings.Cut(r, `"count":`)
		count, _, _ = strings.Cut(count, ",")
		got = append(got, count)
	}
	if want := "1 49 1 1"; strings.Join(got, " ") != want {
		t.Errorf("counts %v, want %s", got, want)
	}
}
