package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// auditFile is where the agent's records are, as this process sees it.
func (r *run) auditFile() string { return filepath.Join(r.base, "logs", "audit", "audit.log") }

// records are the lines of an audit log that name an instruction, or all.
func records(t *testing.T, file string, about api.InstructionID) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"instruction":"`+string(about)+`"`) {
			out = append(out, line)
		}
	}
	return out
}

// kindsOf are the kinds of records.
func kindsOf(lines []string) []string {
	var out []string
	for _, line := range lines {
		_, rest, _ := strings.Cut(line, `"kind":"`)
		kind, _, _ := strings.Cut(rest, `"`)
		out = append(out, kind)
	}
	return out
}

// What an instruction does is recorded before it does it (G8, R173).
func TestAnInstructionIsAudited(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	have := func(when string, want ...string) {
		same(t, "records "+when, want, kindsOf(records(t, r.auditFile(), "a")))
	}
	o.on(claim, "a", func(int, seen) error { have("when it is claimed", "instruction_accepted"); return nil })
	o.on(result, "a", func(int, seen) error {
		if got := kindsOf(records(t, r.auditFile(), "a")); !slices.Equal(got[:2], []string{"instruction_accepted", "instruction_started"}) {
			t.Errorf("records %v when it has run", got)
		}
		return nil
	})
	secret := order("a", "quick")
	secret.InputData["password"] = []byte(`"hunter2-hunter2"`)
	o.offer(secret, order("b", "nowhere"))
	o.outcome("a", api.Completed)
	o.outcome("b", api.Rejected)
	await(t, "the last record", func() bool {
		return len(records(t, r.auditFile(), "a")) == 3 && len(records(t, r.auditFile(), "b")) == 3
	})
	have("at the end", "instruction_accepted", "instruction_started", "instruction_ended")
	same(t, "records of what is refused", []string{"instruction_accepted", "denied", "instruction_ended"}, kindsOf(records(t, r.auditFile(), "b")))
	all, err := os.ReadFile(r.auditFile())
	if err != nil || strings.Contains(string(all), "hunter2") || !strings.Contains(records(t, r.auditFile(), "a")[0], `"parameters":"sha256:`) {
		t.Errorf("%v: the parameters are not recorded as a digest:\n%s", err, all)
	}
	if last := records(t, r.auditFile(), "a")[2]; !strings.Contains(last, `"status":"completed"`) || !strings.Contains(last, `"exit_code":0`) {
		t.Errorf("how it ended: %s", last)
	}
}

// A full disk keeps instructions from being begun; what runs ends, its result arrives
// and what there was to record is recorded when there is room (G6, G8, S16).
func TestAFullDiskUnderTheAuditLog(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick, "gated": gated}, "max_concurrent: 2")
	dir := filepath.Dir(r.auditFile())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.within = []string{"unshare", "-Urm", "sh", "-c", `mount -t tmpfs -o size=64k audit "$1" && shift && exec "$@"`, "sh", dir}
	if out, err := exec.Command(r.within[0], append(slices.Clone(r.within[1:]), "true")...).CombinedOutput(); err != nil {
		t.Skipf("this host gives no mount namespace: %v: %s", err, out)
	}
	r.start()
	file := fmt.Sprintf("/proc/%d/root%s", r.cmd.Process.Pid, r.auditFile())
	o.offer(order("before", "gated"))
	await(t, "the run", func() bool { return r.runs("before") == 1 })
	fill(t, filepath.Join(filepath.Dir(file), "filler"))
	for i := range 8 { // the last page of the file has room for some records
		o.offer(order(fmt.Sprint("pad-", i), "quick"))
	}
	await(t, "the disk to be full", func() bool { return strings.Contains(r.log.String(), "the audit log cannot be written") })
	o.offer(order("during", "quick"))
	time.Sleep(2 * time.Second) // it would have run long ago
	same(t, "claims and runs with a full disk", []int{0, 0}, []int{len(o.of(claim, "during")), r.runs("during")})
	for i := range 8 {
		pad := api.InstructionID(fmt.Sprint("pad-", i))
		have := kindsOf(records(t, file, pad))
		if len(o.of(claim, pad)) > 0 && !slices.Contains(have, "instruction_accepted") || r.runs(pad) > 0 && !slices.Contains(have, "instruction_started") {
			t.Errorf("%s was claimed %d times and ran %d times, and recorded is %v", pad, len(o.of(claim, pad)), r.runs(pad), have)
		}
	}
	if !strings.Contains(r.log.String(), "no space left on device") {
		t.Error("the log does not say why")
	}
	write(t, filepath.Join(r.work, "go-before"), "")
	o.outcome("before", api.Completed) // results are not held up
	if err := os.Remove(filepath.Join(filepath.Dir(file), "filler")); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the run to be recorded", func() bool { return len(records(t, file, "before")) == 3 })
	o.offer(order("after", "quick"))
	o.outcome("after", api.Completed)
	o.outcome("during", api.Completed) // nobody had taken it
}

// fill takes all the room that a file system has.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// A claim that was granted starts nothing whose start cannot be recorded.
func TestNoRunWithoutItsRecord(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	o.on(claim, "a", func(int, seen) error {
		if err := errors.Join(os.Rename(r.auditFile(), r.auditFile()+".1"), os.Mkdir(r.auditFile(), 0o700)); err != nil {
			t.Error(err)
		}
		return nil
	})
	o.offer(order("a", "quick"))
	if got := o.outcome("a", api.Interrupted); !strings.Contains(got.ErrorMessage, "could not write its audit log") || string(got.ErrorDetails) != `{"started":false}` {
		t.Errorf("the result is %q, %s", got.ErrorMessage, got.ErrorDetails)
	}
	same(t, "runs", 0, r.runs("a"))
}
