package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestYAMLSaysWhatJSONSays holds that programs read the same values from both, also where
// YAML would take plain text for something else.
func TestYAMLSaysWhatJSONSays(t *testing.T) {
	value := map[string]any{
		"texts": []string{"", "true", "yes", "null", "~", "1", "0x1f", "1e3", "2026-01-02", "a: b", "- x", "# no", "two\nlines\n", " x ", "\t", "\x00\x1b[2J", "ä€😀", "\u2028", "'", `"\`, "%", "@a", "&a", "*a", "!x", "{", "[", "|", ">"},
		"list":  []any{}, "object": map[string]any{}, "none": nil, "yes": true, "deep": []any{[]any{1, 2.5, -3}, map[string]any{"a": "<b>&"}}, "big": 1 << 53,
	}
	o := &options{output: "yaml"}
	var text bytes.Buffer
	if err := o.print(&text, value); err != nil {
		t.Fatal(err)
	}
	var got any
	if err := yaml.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatalf("%v:\n%s", err, &text)
	}
	want, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(back)); diff != "" {
		t.Errorf("as YAML it is (-JSON +YAML):\n%s\n%s", diff, &text)
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Errorf("a control character reached the terminal: %q", &text)
	}
}

func TestOutputAsYAML(t *testing.T) {
	s := servertest.Start(t)
	s.Apply("name: clean\ntriggers:\n  - event: disk.full\nactions:\n  - plugin: cleaner\n")
	_, list, _ := run(t, "--data-dir", s.DataDir, "workflows", "list", "-o", "yaml")
	if !strings.HasPrefix(list, "- name: clean\n  version: 1\n") {
		t.Errorf("workflows list -o yaml printed\n%s", list)
	}
	_, one, _ := run(t, "--data-dir", s.DataDir, "workflows", "show", "clean", "-o", "yaml")
	if !strings.Contains(one, "text: |\n  name: clean\n") {
		t.Errorf("workflows show -o yaml printed\n%s", one)
	}
	if _, none, _ := run(t, "--data-dir", s.DataDir, "runs", "list", "-o", "yaml"); none != "[]\n" {
		t.Errorf("an empty list as YAML is %q", none)
	}
}

// screen is what a command that goes on prints.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) shows(t *testing.T, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		found := strings.Contains(s.text.String(), want)
		s.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("printed %q, want %q in it", &s.text, want)
}

// TestWatch holds that what changes is shown, that what does not is not shown again, and
// that a server that is away for a while ends nothing.
func TestWatch(t *testing.T) {
	s := servertest.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs screen
	root := New()
	root.SetOut(&out)
	root.SetErr(&errs)
	ended := make(chan int, 1)
	go func() {
		ended <- Execute(ctx, root, []string{"--data-dir", s.DataDir, "workflows", "list", "--watch", "--interval", "100ms", "-o", "json"})
	}()
	out.shows(t, "[]\n")
	s.Apply("name: one\ntriggers:\n  - event: a\nactions:\n  - plugin: p\n")
	out.shows(t, `"name": "one"`)
	s.Stop()
	errs.shows(t, "no server answers")
	s.Restart()
	s.Apply("name: two\ntriggers:\n  - event: a\nactions:\n  - plugin: p\n")
	out.shows(t, `"name": "two"`)
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("an interrupted watch exits %d", code)
	}
	if n := strings.Count(out.text.String(), `"name": "one"`); n != 2 {
		t.Errorf("workflow one is shown %d times, want one for each change:\n%s", n, &out.text)
	}
	for _, args := range [][]string{{"runs", "list", "--watch", "--interval", "1ms"}, {"events", "list", "--watch", "--follow"}} {
		if code, _, stderr := run(t, append([]string{"--data-dir", s.DataDir}, args...)...); code != exitUsage || stderr == "" {
			t.Errorf("%v = %d %q, want that it is refused", args, code, stderr)
		}
	}
}

// TestFollowersOutliveARestart holds that who follows a stream gets what comes after a restart
// of the server too, and nothing twice.
func TestFollowersOutliveARestart(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	emit := func(seq uint64, id api.EventID) {
		t.Helper()
		_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{Seq: seq, ID: id, Type: "t", Severity: api.Low, Timestamp: api.At(time.Now())}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs screen
	root := New()
	root.SetOut(&out)
	root.SetErr(&errs)
	ended := make(chan int, 1)
	emit(1, "FIRST")
	go func() {
		ended <- Execute(ctx, root, []string{"--data-dir", s.DataDir, "events", "list", "-f", "-o", "json"})
	}()
	for n := uint64(2); !strings.Contains(out.String(), "BEFORE"); n++ { // until it is connected
		emit(n, api.EventID("BEFORE"+string(rune('A'+n))))
		time.Sleep(20 * time.Millisecond)
	}
	s.Stop()
	errs.shows(t, "went away")
	s.Restart()
	emit(1000, "AFTER")
	out.shows(t, "AFTER")
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("an interrupted follower exits %d", code)
	}
	seen := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var e operatorapi.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if seen[string(e.ID)]++; seen[string(e.ID)] > 1 || e.ID == "FIRST" {
			t.Errorf("event %s came %d times", e.ID, seen[string(e.ID)])
		}
	}
}

// TestFiltersOfLists holds that each flag of a list reaches the server as the parameter that
// it has.
func TestFiltersOfLists(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Apply("name: clean\ntriggers:\n  - event: even\nactions:\n  - plugin: cleaner\n")
	batch := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
	for n, severity := range []api.Severity{api.Low, api.High, api.High} {
		batch.Events = append(batch.Events, api.Event{Seq: uint64(n + 1), ID: api.EventID([]string{"E1", "E2", "E3"}[n]), Type: "even", Severity: severity, Timestamp: api.At(time.Now())})
	}
	if _, err := sensor.Events(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]int{
		"events list": 3, "events list --limit 2": 2, "events list --limit 0": 3, "events list --severity high": 2, "events list --since 1h": 3,
		"events list --since 2100-01-01T00:00:00Z": 0, "events list --agent x": 0, "events list --type even": 3,
		"runs list": 3, "runs list --event E2": 1, "runs list --status failed": 0, "runs list --workflow clean": 3, "runs list --until 1h": 0, "runs list --since 1h": 3,
		"agents list": 1, "agents list --status offline": 1, "agents list --type action": 0, "agents list --tag host:a": 1, "agents list --plugin x": 0,
		"audit list --action workflow.apply": 1, "audit list --newest --limit 1": 1, "audit list --actor nobody": 0, "audit list --object clean": 1, "audit list --after 2": 1,
	} {
		_, stdout, stderr := run(t, append([]string{"--data-dir", s.DataDir, "-o", "json"}, strings.Fields(args)...)...)
		var rows []map[string]any
		if err := json.Unmarshal([]byte(stdout), &rows); err != nil || len(rows) != want {
			t.Errorf("stavily %s: %d rows, %v, %q; want %d", args, len(rows), err, stderr, want)
		}
	}
	for _, args := range []string{"runs list --since yesterday", "events list --limit -1"} {
		if code, _, stderr := run(t, append([]string{"--data-dir", s.DataDir}, strings.Fields(args)...)...); code != exitUsage {
			t.Errorf("stavily %s = %d %q", args, code, stderr)
		}
	}
	var one []operatorapi.Audit
	_, stdout, _ := run(t, "--data-dir", s.DataDir, "-o", "json", "audit", "list", "--newest", "--limit", "1")
	if err := json.Unmarshal([]byte(stdout), &one); err != nil || one[0].Action != "workflow.apply" {
		t.Errorf("the newest record is %s", stdout)
	}
}
