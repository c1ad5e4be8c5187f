package retention_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/depot"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/retention"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

const flow = `
name: note
triggers:
  - event: disk.full
actions:
  - id: note
    plugin: noter
    agents: {same_host: true}
`

func happened(seq uint64, kind string) api.EventBatch {
	return api.EventBatch{Stream: api.Stream{Epoch: "0123456789abcdef0123456789abcdef"}, Events: []api.Event{{
		Seq: seq, ID: api.EventID(fmt.Sprintf("01J0000000000000000000000%d", seq)), Type: kind, Severity: api.High, Timestamp: api.At(time.Now()),
	}}}
}

func send(t *testing.T, sensor *servertest.Agent, b api.EventBatch, want string) {
	t.Helper()
	answer, err := sensor.Events(t.Context(), b)
	if err != nil || answer.Events[0].Status != want {
		t.Fatalf("events: %+v, %v, want %s", answer, err, want)
	}
}

// lived is a server with a past: of two events each has started a run, one of which has
// ended; a third one started nothing.
func lived(t *testing.T) (*servertest.Server, *servertest.Agent) {
	t.Helper()
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "a"), s.Enrol(api.Action, "action-1", "a")
	s.Apply(flow)
	send(t, sensor, happened(1, "disk.full"), api.EventAccepted)
	answer, err := action.Poll(t.Context(), 10*time.Second, 1)
	if err != nil || len(answer.Offers()) != 1 {
		t.Fatalf("poll: %+v, %v", answer, err)
	}
	i := answer.Offers()[0]
	if _, err := action.Progress(t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}); err != nil {
		t.Fatal(err)
	}
	if _, err := action.Result(t.Context(), i.ID, api.Result{Status: api.Completed, Attempt: i.Attempt, Lease: i.Lease, ExecutionLog: []string{"one", "two"}}); err != nil {
		t.Fatal(err)
	}
	send(t, sensor, happened(2, "disk.full"), api.EventAccepted)
	third := happened(3, "disk.fine")
	third.Gaps = []api.Gap{{From: 4, To: 4, Count: 1, Reason: "corrupt"}, {From: 5, To: 8, Count: 4, Reason: "refused"}, {From: 9, To: 9, Count: 1, Reason: "corrupt"}}
	send(t, sensor, third, api.EventAccepted)
	return s, sensor
}

// room is the database of a stopped server with a sweeper in the future.
type room struct {
	store.Store
	*retention.Sweeper
	waited time.Duration // that others had the store
}

func open(t *testing.T, dir string, o retention.Options) *room {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, server.DatabaseName))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	packages, err := depot.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	registry := telemetry.NewRegistry("stavily_server")
	o.Logger, o.Metrics = log, registry
	r := &room{Store: st}
	began := time.Now()
	future := func() time.Time { return began.Add(100 * 24 * time.Hour) }
	e := engine.New(st, authority, engine.Options{Logger: log, Depot: packages, Metrics: registry, Now: future})
	r.Sweeper = retention.New(e, o).At(future, 2, 1000, func(d time.Duration) { r.waited += d })
	return r
}

func (r *room) read(t *testing.T, f func(store.Reader) error) {
	t.Helper()
	if err := r.Org("default").View(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func (r *room) sound(t *testing.T) {
	t.Helper()
	report, err := fsck.Check(t.Context(), r)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("fsck: %+v, %v", report, err)
	}
}

// lines reads the archive of one kind.
func lines[T any](t *testing.T, archive, kind string) (out []T) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(archive, "default", kind+"-*.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		text, err := limits.Gunzip(f, 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for line := range bytes.Lines(text) {
			var one T
			if err := json.Unmarshal(line, &one); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, one)
		}
	}
	return out
}

var short = retention.Options{Events: retention.DefaultEvents, Runs: retention.DefaultRuns, Logs: retention.DefaultLogs, Audit: retention.DefaultEvents}

// What is old goes into the archive and out of the database; what goes on, and what is
// needed to know what came before, stays.
func TestSweep(t *testing.T) {
	s, sensor := lived(t)
	before := s.Runs()
	s.Stop()
	o := short
	o.Archive = filepath.Join(t.TempDir(), "archive")
	r := open(t, s.DataDir, o)
	var trail []store.Audit
	r.read(t, func(r store.Reader) (err error) { trail, err = r.Audit(0, 1000); return err })
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sound(t)
	r.read(t, func(r store.Reader) error {
		events, err := r.Events(store.EventQuery{})
		if err != nil || len(events) != 1 || events[0].Seq != 3 {
			t.Errorf("events that are left: %+v, %v", events, err)
		}
		runs, err := r.Runs(store.RunQuery{})
		if err != nil || len(runs) != 1 || runs[0].ID != before[0].ID {
			t.Errorf("runs that are left: %+v, %v; want %s, which goes on", runs, err, before[0].ID)
		}
		logs, err := r.Logs(store.LogQuery{})
		if err != nil || len(logs) != 1 || logs[0].Message != "two" {
			t.Errorf("lines that are left: %+v, %v", logs, err)
		}
		if gaps, err := r.Gaps("sensor-1"); err != nil || len(gaps) != 0 {
			t.Errorf("gaps that are left: %+v, %v", gaps, err)
		}
		audit, err := r.Audit(0, 1000)
		if err != nil || len(audit) == 0 || audit[0].Seq < trail[len(trail)-1].Seq {
			t.Errorf("audit records that are left: %+v, %v", audit, err)
		}
		return err
	})
	if r.waited == 0 {
		t.Error("the store was not left to others")
	}
	archived(t, o.Archive, trail, before[1].ID)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	send(t, s.Reconnect(sensor), happened(1, "disk.full"), api.EventDuplicate) // the stream knows
	if runs := s.Runs(); len(runs) != 1 {
		t.Errorf("%d runs after an event that was removed came again", len(runs))
	}
}

func archived(t *testing.T, archive string, trail []store.Audit, ended api.RunID) {
	t.Helper()
	events := lines[retention.EventRecord](t, archive, "events")
	if len(events) != 2 || events[0].Event.Seq != 1 || len(events[1].Evaluations) != 1 || events[1].Evaluations[0].Run == "" {
		t.Errorf("archived events: %+v", events)
	}
	if gaps := lines[store.Gap](t, archive, "gaps"); len(gaps) != 3 || gaps[1].Count != 4 || gaps[1].Reason != "refused" || gaps[1].Agent != "sensor-1" {
		t.Errorf("archived gaps: %+v", gaps)
	}
	runs := lines[retention.RunRecord](t, archive, "runs")
	if len(runs) != 1 || runs[0].Run.ID != ended || len(runs[0].Run.State) == 0 || len(runs[0].History) == 0 || len(runs[0].Instructions) != 1 {
		t.Errorf("archived runs: %+v", runs)
	}
	if logs := lines[store.Log](t, archive, "logs"); len(logs) != 1 || logs[0].Message != "one" {
		t.Errorf("archived lines: %+v", logs)
	}
	audit := lines[store.Audit](t, archive, "audit")
	for n, a := range audit {
		if want := trail[n].Digest(); a.Digest() != want {
			t.Errorf("archived audit record %d has digest %s, want %s", n+1, a.Digest(), want)
		}
	}
	if len(audit) != len(trail) {
		t.Errorf("%d audit records are archived, want all %d that were old", len(audit), len(trail))
	}
	var left []string
	err := filepath.WalkDir(archive, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".part") {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left in the archive: %q, %v", left, err)
	}
}

// Nothing is removed that could not be archived, and without an archive it is removed.
func TestNoArchive(t *testing.T) {
	s, _ := lived(t)
	s.Stop()
	o := short
	o.Archive = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(o.Archive, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	count := func(r *room) (n int) {
		r.read(t, func(reader store.Reader) error {
			events, err := reader.Events(store.EventQuery{})
			n = len(events)
			return err
		})
		return n
	}
	r := open(t, s.DataDir, o)
	if err := r.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "archive: ") {
		t.Errorf("archive in a file: %v", err)
	}
	if n := count(r); n != 3 {
		t.Errorf("%d events are left where nothing could be archived, want 3", n)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	o.Archive = ""
	r = open(t, s.DataDir, o)
	if err := r.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(r); n != 1 {
		t.Errorf("%d events are left, want the newest", n)
	}
	r.sound(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// A clock that was set removes nothing for a day.
func TestClock(t *testing.T) {
	r := &room{}
	r.Sweeper = retention.New(nil, retention.Options{Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.NewRegistry("x")})
	begin := time.Now()
	for n, step := range []struct {
		passed time.Duration // by the monotonic clock
		set    time.Duration // of the wall clock, besides
		want   bool
	}{
		{0, 0, true},
		{10 * time.Minute, 0, true},
		{20 * time.Minute, 10 * 365 * 24 * time.Hour, false},
		{30 * time.Minute, 10 * 365 * 24 * time.Hour, false},
		{40 * time.Minute, 0, false},
		{24 * time.Hour, 0, false},
		{25 * time.Hour, 0, true},
	} {
		if got := r.Steady(begin.Add(step.passed).Add(step.set), step.passed); got != step.want {
			t.Errorf("step %d: steady %t, want %t", n, got, step.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, o := range []retention.Options{{Runs: 24 * time.Hour}, {Events: time.Minute}, {Audit: 1}, {Logs: -time.Hour}} {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if err := short.Validate(); err != nil {
		t.Error(err)
	}
	if err := (retention.Options{}).Validate(); err != nil {
		t.Error(err)
	}
}
