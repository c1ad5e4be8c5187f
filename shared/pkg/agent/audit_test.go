package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// audited is a runtime whose records go to a file.
func audited(t *testing.T, typ api.AgentType, environ ...string) (*Runtime, *lines) {
	t.Helper()
	rt, log := testRuntime(t, typ, environ...)
	rt.openAudit()
	t.Cleanup(func() { rt.closeAudit() })
	return rt, log
}

// recorded lists the kinds and fields of what was recorded, the agent's start left out.
func recorded(t *testing.T, rt *Runtime) []string {
	t.Helper()
	var out []string
	if err := audit.Read(rt.Config().Security.Audit.File, func(r audit.Record) bool {
		if r.Kind != AuditStarted {
			out = append(out, string(r.Kind)+" "+string(r.Fields))
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// isRecorded fails unless a record of this kind holds all of the texts.
func isRecorded(t *testing.T, rt *Runtime, kind audit.Kind, texts ...string) {
	t.Helper()
	all := recorded(t, rt)
record:
	for _, r := range all {
		if !strings.HasPrefix(r, string(kind)+" ") {
			continue
		}
		for _, text := range texts {
			if !strings.Contains(r, text) {
				continue record
			}
		}
		return
	}
	t.Errorf("no record %s with %q among\n%s", kind, texts, strings.Join(all, "\n"))
}

func TestACertificateIsRecordedBeforeItIsUsed(t *testing.T) {
	rt, _ := audited(t, api.Sensor)
	ca := pkitest.New(t, "ca")
	enrolled(t, rt.Config(), ca, "acme/sensor/web-01")
	use := func() {
		creds, err := rt.awaitIdentity(t.Context())
		if err == nil {
			err = rt.auditIdentity(t.Context(), creds)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	use()
	use() // the same
	if all := recorded(t, rt); len(all) != 1 {
		t.Errorf("recorded %q, want the certificate once", all)
	}
	isRecorded(t, rt, AuditEnrolled, `"organization":"acme"`, `"agent":"web-01"`, `"certificate":"sha256:`)
	enrolled(t, rt.Config(), ca, "acme/sensor/web-01") // another one
	use()
	if all := recorded(t, rt); len(all) != 2 {
		t.Errorf("recorded %q, want both certificates", all)
	}
}

// TestNoWorkWithoutAudit holds G8 for the runtime: while nothing can be recorded the
// agent says so, waits, and goes on by itself.
func TestNoWorkWithoutAudit(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	file := rt.Config().Security.Audit.File
	if err := os.Mkdir(file, 0o700); err != nil { // a directory stands where the file has to go
		t.Fatal(err)
	}
	rt.openAudit()
	defer rt.closeAudit()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := rt.AwaitAudit(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("AwaitAudit = %v, want it to wait", err)
	}
	c := condition(rt, conditionAudit)
	if ready, _ := rt.Health.Ready(); ready || c == nil || !strings.Contains(c.Message, file+" is not a regular file: move it away") {
		t.Errorf("ready %v, condition %+v", ready, c)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := rt.AwaitAudit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := condition(rt, conditionAudit); c != nil {
		t.Errorf("condition %+v after it was corrected", c)
	}
	if text := read(t, file); !strings.Contains(text, string(AuditStarted)) {
		t.Errorf("the start is not recorded afterwards: %s", text)
	}
}

// TestAuditIsTriedAgainByItself: also where an agent has nothing more to record.
func TestAuditIsTriedAgainByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, _ := testRuntime(t, api.Sensor)
		file := rt.Config().Security.Audit.File
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		rt.openAudit()
		defer rt.closeAudit()
		go rt.mendAudit(t.Context())
		time.Sleep(auditRetry / 2)
		if condition(rt, conditionAudit) == nil {
			t.Fatal("no condition while it cannot be written")
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(auditRetry)
		synctest.Wait()
		if c := condition(rt, conditionAudit); c != nil {
			t.Errorf("condition %+v after it was corrected", c)
		}
		if text := read(t, file); !strings.Contains(text, string(AuditStarted)) {
			t.Errorf("the start is not recorded afterwards: %s", text)
		}
	})
}

func TestAuditCommands(t *testing.T) {
	rt, _ := audited(t, api.Sensor)
	for _, kind := range []audit.Kind{AuditDenied, AuditEnded, AuditDenied} {
		if err := rt.Audit.Record(kind); err != nil {
			t.Fatal(err)
		}
	}
	file := rt.Config().Security.Audit.File
	out, _, err := command(t, sensorRole, "audit", "verify", file)
	if err != nil || !strings.Contains(out, "4 records, the last is 4:") {
		t.Errorf("verify = %q, %v", out, err)
	}
	out, _, err = command(t, sensorRole, "audit", "show", file, "--kind", "denied", "--last", "1")
	if err != nil || !strings.HasPrefix(out, "4  ") || strings.Count(out, "\n") != 1 {
		t.Errorf("show = %q, %v, want record 4 only", out, err)
	}
	lines := strings.SplitAfter(read(t, file), "\n")
	edited := filepath.Join(t.TempDir(), "audit.log")
	write(t, edited, lines[0]+lines[2]+lines[3])
	out, _, err = command(t, sensorRole, "audit", "verify", edited, "-o", "json")
	var report audit.Report
	if jsonErr := json.Unmarshal([]byte(out), &report); jsonErr != nil || !errors.Is(err, errTampered) || len(report.Findings) != 1 || report.Findings[0].Line != 2 {
		t.Errorf("verify = %q, %v, %v, want line 2", out, err, jsonErr)
	}
	if _, _, err = command(t, sensorRole, "audit", "verify", file, "--expect", "2"); !errors.Is(err, errUsage) {
		t.Errorf("--expect 2 = %v, want a mistake in the command line", err)
	}
}
