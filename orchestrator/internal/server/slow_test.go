package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// A statement that takes long is told with its name, its text, its time and its rows, and with
// nothing of what it is about; one that does not is not.
func TestSlowQueries(t *testing.T) {
	const value = "xoxb-what-no-log-may-have"
	for over, want := range map[time.Duration]bool{time.Nanosecond: true, time.Hour: false, 0: false} {
		var told []sqlstore.Slow
		st, err := openStore(t.Context(), Options{DataDir: t.TempDir()}, sqlstore.Watch{Over: over, Tell: func(s sqlstore.Slow) { told = append(told, s) }})
		if err != nil {
			t.Fatal(err)
		}
		org := st.Org("default")
		if err := org.Update(t.Context(), func(tx store.Tx) error { return tx.PutSecret(store.Secret{Name: value, Key: value}) }); err != nil {
			t.Fatal(err)
		}
		if err := org.View(t.Context(), func(r store.Reader) error { _, err := r.Secrets(); return err }); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		rows := map[string]int64{}
		for _, s := range told {
			rows[s.Name] = max(rows[s.Name], s.Rows)
			if s.Took <= 0 || s.Text == "" || strings.Contains(s.Name+s.Text, "xoxb") {
				t.Errorf("it was told %+v", s)
			}
		}
		if !want {
			if len(told) > 0 {
				t.Errorf("over %s it was told of %+v", over, told)
			}
			continue
		}
		for name, n := range map[string]int64{"begin": 0, "insert secrets": 0, "commit": 0, "select secrets": 1} {
			if got, is := rows[name]; !is || got < n {
				t.Errorf("%s: told %v with %d rows, want %d", name, is, got, n)
			}
		}
	}
}

// The log takes one slow statement a second, and says how many there were between.
func TestTheLogBearsSlowQueries(t *testing.T) {
	var log bytes.Buffer
	w := watchQueries(Options{SlowQuery: time.Second, Logger: slog.New(slog.NewJSONHandler(&log, nil))}, telemetry.NewRegistry("test"))
	for range 3 { // the log takes one a second
		w.Tell(sqlstore.Slow{Name: "select runs", Text: "SELECT doc FROM runs", Took: 1500 * time.Millisecond, Rows: 7})
	}
	var line struct {
		Msg, Statement, Text string
		MS, Rows             int64
	}
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Msg != "slow query" || line.Statement != "select runs" || line.MS != 1500 || line.Rows != 7 || line.Text != "SELECT doc FROM runs" {
		t.Errorf("%v: %s", err, log.String())
	}
	q := &slowQueries{}
	now := time.Now()
	for _, step := range []struct {
		after   time.Duration
		omitted int
		due     bool
	}{{0, 0, true}, {time.Millisecond, 0, false}, {slowEvery / 2, 0, false}, {slowEvery, 2, true}, {2 * slowEvery, 0, true}} {
		if omitted, due := q.due(now.Add(step.after)); omitted != step.omitted || due != step.due {
			t.Errorf("after %s: %d omitted, due %v; want %+v", step.after, omitted, due, step)
		}
	}
}
