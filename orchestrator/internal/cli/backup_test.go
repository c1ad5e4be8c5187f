package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

const restartFlow = `
name: restart
triggers:
  - event: service.down
actions:
  - id: restart
    plugin: restarter
    idempotent: true
    retry: {attempts: 3, first: 1s}
    agents: {any: {tags: ["host:a"]}}
`

// fleet is a server with a sensor and two agents that act, of which the first takes what it
// is offered.
type fleet struct {
	*servertest.Server
	t       *testing.T
	sensor  *servertest.Agent
	actions [2]*servertest.Agent
	seq     uint64
	ran     map[string]int // starts, by event
}

func (f *fleet) event(want uint64) {
	f.t.Helper()
	f.seq++
	f.send(f.seq, want)
}

func (f *fleet) send(seq, acked uint64) {
	f.t.Helper()
	answer, err := f.sensor.Events(f.t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "0123456789abcdef0123456789abcdef"}, Events: []api.Event{{
		Seq: seq, ID: api.EventID(fmt.Sprintf("01J000000000000000000%05d", seq)), Type: "service.down", Severity: api.High, Timestamp: api.At(time.Now()),
	}}})
	if err != nil || answer.AckedThrough != acked {
		f.t.Fatalf("event %d: %+v, %v, want %d acknowledged", seq, answer, err, acked)
	}
}

// take claims what is offered to an agent within a while.
func (f *fleet) take(agent *servertest.Agent, wait time.Duration) (i api.Instruction, some bool) {
	f.t.Helper()
	answer, err := agent.Poll(f.t.Context(), wait, 1)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(answer.Offers()) == 0 {
		return i, false
	}
	i = answer.Offers()[0]
	if _, err := agent.Progress(f.t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}); err != nil {
		f.t.Fatal(err)
	}
	f.ran[string(i.Context.EventID)]++
	return i, true
}

func (f *fleet) end(agent *servertest.Agent, i api.Instruction) error {
	_, err := agent.Result(f.t.Context(), i.ID, api.Result{Status: api.Completed, Attempt: i.Attempt, Lease: i.Lease, Result: json.RawMessage(`{}`)})
	return err
}

// A server is restored from a backup of some time ago, under agents that have gone on since:
// nothing that has run runs again, on any of them, and what is not known any more is told.
func TestRestoreUnderLiveAgents(t *testing.T) {
	s := servertest.Start(t)
	f := &fleet{Server: s, t: t, ran: map[string]int{}, sensor: s.Enrol(api.Sensor, "sensor-1", "a"),
		actions: [2]*servertest.Agent{s.Enrol(api.Action, "action-1", "a"), s.Enrol(api.Action, "action-2", "a")}}
	s.Apply(restartFlow)
	f.event(1)
	executing, _ := f.take(f.actions[0], 5*time.Second)
	f.event(2) // waits for an agent
	file := filepath.Join(t.TempDir(), "backup.tar.gz")
	if code, _, errs := run(t, "backup", file, "--data-dir", s.DataDir); code != exitOK || !strings.Contains(errs, "secrets.key") {
		t.Fatalf("backup: %d, %s", code, errs)
	}
	if code, _, errs := run(t, "backup", file, "--data-dir", s.DataDir); code == exitOK || !strings.Contains(errs, "nothing is overwritten") {
		t.Errorf("a second backup into the same file: %d, %s", code, errs)
	}
	if err := f.end(f.actions[0], executing); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.event(f.seq + 1)
	}
	for range 3 {
		i, some := f.take(f.actions[0], 5*time.Second)
		if !some {
			t.Fatal("no offer")
		}
		if err := f.end(f.actions[0], i); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errs := run(t, "restore", file, "--data-dir", s.DataDir); code == exitOK || !strings.Contains(errs, "is not empty") {
		t.Errorf("a restore under a running server: %d, %s", code, errs)
	}
	s.Stop()
	if err := os.Rename(s.DataDir, s.DataDir+".old"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.DataDir + ".old") })
	code, out, errs := run(t, "restore", file, "--data-dir", s.DataDir)
	if code != exitOK {
		t.Fatalf("restore: %d\n%s%s", code, out, errs)
	}
	if !strings.Contains(out, "2 runs that were under way ended") || !strings.Contains(out, " 0 findings") || !strings.Contains(errs, "keys of secrets") {
		t.Errorf("restore says:\n%s%s", out, errs)
	}
	s.Restart()
	f.afterRestore(executing)
}

func (f *fleet) afterRestore(executing api.Instruction) {
	f.t.Helper()
	for _, agent := range f.actions {
		if i, some := f.take(agent, time.Second); some {
			f.t.Errorf("%s was given %s of event %s again", agent.ID, i.ID, i.Context.EventID)
		}
	}
	if err := f.end(f.actions[0], executing); err == nil { // its agent sends it until it is told
		f.t.Log("the result of what was executing is taken")
	}
	f.event(2) // number 5; 3 and 4 are not known any more
	f.send(5, 5)
	if i, some := f.take(f.actions[0], 5*time.Second); !some || f.end(f.actions[0], i) != nil {
		f.t.Error("a new event does not do what it should")
	}
	for id, n := range f.ran {
		if n != 1 {
			f.t.Errorf("event %s was acted on %d times", id, n)
		}
	}
	if len(f.ran) != 5 {
		f.t.Errorf("%d events were acted on, want 5", len(f.ran))
	}
	said := map[string]bool{}
	for _, a := range f.Audit() {
		said[a.Action] = true
	}
	if !said["server.restore"] || !said["stream.ahead"] {
		f.t.Errorf("audit records after the restore: %v, want server.restore and stream.ahead", said)
	}
	if code, out, errs := run(f.t, "fsck", "--data-dir", f.DataDir); code != exitOK {
		f.t.Errorf("fsck: %s%s", out, errs)
	}
}

// An encrypted backup has everything, made while events come in, and opens only to its key.
func TestEncryptedBackup(t *testing.T) {
	s := servertest.Start(t)
	f := &fleet{Server: s, t: t, ran: map[string]int{}, sensor: s.Enrol(api.Sensor, "sensor-1", "a")}
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() && !t.Failed() {
			f.event(f.seq + 1)
		}
	}()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, keyFile, to := filepath.Join(dir, "b.age"), filepath.Join(dir, "key"), filepath.Join(dir, "restored")
	if err := os.WriteFile(keyFile, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := run(t, "backup", file, "--data-dir", s.DataDir, "--recipient", key.Recipient().String())
	stop.Store(true)
	<-ended
	if code != exitOK || errs != "" {
		t.Fatalf("backup: %d, %s", code, errs)
	}
	if code, _, errs := run(t, "restore", file, "--data-dir", to); code == exitOK || !strings.Contains(errs, "it is encrypted") {
		t.Errorf("without the key: %d, %s", code, errs)
	}
	if code, out, errs := run(t, "restore", file, "--data-dir", to, "--identity-file", keyFile); code != exitOK || errs != "" || !strings.Contains(out, " 0 findings") {
		t.Errorf("with the key: %d, %s%s", code, out, errs)
	}
	was, err := os.ReadFile(filepath.Join(s.DataDir, "secrets.key"))
	is, failure := os.ReadFile(filepath.Join(to, "secrets.key"))
	if err != nil || failure != nil || string(was) != string(is) {
		t.Errorf("keys of secrets: %v, %v", err, failure)
	}
	for _, wrong := range [][]string{{"restore"}, {"restore", file, "--in-place", "2026-01-01T00:00:00Z"}, {"restore", "--in-place", "yesterday"},
		{"backup", file + "2", "--recipient", "nobody"}, {"backup", file + "2", "--recipient", key.Recipient().String(), "--passphrase-file", keyFile}} {
		if code, _, _ := run(t, append(wrong, "--data-dir", to)...); code != exitUsage {
			t.Errorf("%v: exit code %d", wrong, code)
		}
	}
}
