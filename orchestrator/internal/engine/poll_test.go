package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestEveryInstructionIsOfferedOnce lets many agents wait while work comes in.
func TestEveryInstructionIsOfferedOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		const agents, events = 12, 30
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		var mu sync.Mutex
		offered := map[api.InstructionID]int{}
		var wg sync.WaitGroup
		for n := range agents {
			a := w.enrol(api.Action, api.AgentID(fmt.Sprintf("a%d", n)), "h")
			wg.Go(func() {
				for {
					offers, err := w.Poll(t.Context(), a.Identity, 30*time.Second, 2)
					if err != nil {
						t.Error(err)
					}
					if len(offers) == 0 {
						return
					}
					mu.Lock()
					for _, i := range offers {
						offered[i.ID]++
					}
					mu.Unlock()
				}
			})
		}
		for n := range events {
			w.sends(s, event(uint64(n+1)), api.EventAccepted)
		}
		wg.Wait() // they go when there was nothing for 30 s: no lease has run out by then
		if len(offered) != events {
			t.Errorf("%d instructions were offered, want %d", len(offered), events)
		}
		for id, n := range offered {
			if n != 1 {
				t.Errorf("%s was offered %d times", id, n)
			}
		}
	})
}

// Whatever numbers an agent gives, lines are taken or left, and nothing breaks.
func TestNumbersOfLines(t *testing.T) {
	lines := []string{"a", "b", "c"}
	for _, c := range []struct {
		known, from, left int
	}{
		{0, 0, 3}, {7, 0, 3}, {0, 1, 3}, {1, 1, 2}, {3, 1, 0}, {4, 3, 1}, {4, 5, 3}, {9, 1, 0}, {2, 9, 3},
		{2, -5, 0}, {2, math.MinInt, 3}, {2, math.MaxInt, 3}, {math.MaxInt, 1, 0},
	} {
		if got := notBefore(c.known, c.from, lines); len(got) != c.left {
			t.Errorf("%d known, from %d: %q left, want %d", c.known, c.from, got, c.left)
		}
	}
}

func TestLogsBelongToTheirRun(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		long := strings.Repeat("x", 2*api.MaxLogLineBytes)
		answer, err := w.Logs(t.Context(), a.Identity, api.LogBatch{Logs: []api.LogEntry{
			{InstructionID: i.ID, Message: "of the run", Timestamp: api.At(time.Now())}, {Message: long, Timestamp: api.At(time.Now())},
		}})
		if err != nil || answer.Accepted != 2 {
			t.Errorf("logs = %+v, %v, want two accepted", answer, err)
		}
		w.read(func(r store.Reader) error {
			of, err := r.Logs(store.LogQuery{Run: w.runsAre("running")[0].ID})
			if err != nil || len(of) != 1 || of[0].Message != "of the run" || of[0].Agent != "a" {
				t.Errorf("lines of the run: %+v", of)
			}
			all, err := r.Logs(store.LogQuery{})
			if len(all) != 2 || len(all[1].Message) > api.MaxLogLineBytes+4 {
				t.Errorf("%d lines, the last of %d bytes", len(all), len(all[len(all)-1].Message))
			}
			return err
		})
		_, err = w.Logs(t.Context(), a.Identity, api.LogBatch{Logs: make([]api.LogEntry, api.MaxLogLines+1)})
		w.wantCode("too many lines", err, api.CodeTooLarge)

		many := numbered(api.MaxLogLines)
		many[len(many)-1].InstructionID = "another's"
		_, err = w.Logs(t.Context(), a.Identity, api.LogBatch{Logs: many})
		w.wantCode("a line of another's instruction at the end", err, api.CodeNotFound)
		many[len(many)-1].InstructionID = ""
		if answer, err := w.Logs(t.Context(), a.Identity, api.LogBatch{Logs: many}); err != nil || answer.Accepted != len(many) {
			t.Errorf("logs = %+v, %v, want all of them", answer, err)
		}
		w.keepsNumbered(2, len(many))
	})
}

// TestManyLogsAreStoredInParts: what others send waits for one part and not for the batch.
func TestManyLogsAreStoredInParts(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		many := numbered(2*mostTogether + 20)
		synctest.Wait()
		before := w.writes.Load()
		if answer, err := w.Logs(t.Context(), a.Identity, api.LogBatch{Logs: many}); err != nil || answer.Accepted != len(many) {
			t.Errorf("logs = %+v, %v, want all of them", answer, err)
		}
		if writes := w.writes.Load() - before; writes != 3 {
			t.Errorf("%d lines are stored in %d transactions, want 3", len(many), writes)
		}
		w.keepsNumbered(0, len(many))
	})
}

// TestManyLogsLetOthersIn: a part ends sooner where something waits for it.
func TestManyLogsLetOthersIn(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		many := numbered(2 * mostTogether)
		synctest.Wait()
		before := w.writes.Load()
		var calls errgroup.Group
		err := w.update(t.Context(), "default", func(*tx) error { // both come while this goes on
			calls.Go(func() error {
				_, err := w.Logs(context.Background(), a.Identity, api.LogBatch{Stream: api.Stream{Epoch: "e"}, From: 1, Logs: many})
				return err
			})
			synctest.Wait()
			calls.Go(func() error {
				return w.update(context.Background(), "default", func(tx *tx) error {
					lines, err := tx.Logs(store.LogQuery{Limit: len(many)})
					if len(lines) != leastTogether {
						t.Errorf("%d lines are stored before another's transaction, want %d", len(lines), leastTogether)
					}
					return err
				})
			})
			synctest.Wait()
			return nil
		})
		if err := errors.Join(err, calls.Wait()); err != nil {
			t.Fatal(err)
		}
		if writes := w.writes.Load() - before; writes != 2+3 {
			t.Errorf("%d transactions, of which lines should have 10, 50 and 40", writes)
		}
		w.keepsNumbered(0, len(many))
	})
}

// numbered is so many log lines, each of which is its number.
func numbered(count int) []api.LogEntry {
	lines := make([]api.LogEntry, count)
	for n := range lines {
		lines[n] = api.LogEntry{Message: strconv.Itoa(n), Timestamp: api.At(time.Now())}
	}
	return lines
}

// keepsNumbered wants so many numbered lines to be stored in order after a cursor, and no others.
func (w world) keepsNumbered(after int64, count int) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		all, err := r.Logs(store.LogQuery{After: after, Limit: count + 1})
		if len(all) != count {
			w.t.Errorf("%d lines are stored after the first %d, want %d", len(all), after, count)
		}
		for n, l := range all {
			if l.Cursor != after+int64(n)+1 || l.Message != strconv.Itoa(n) {
				w.t.Errorf("line %d is %d, %s", n, l.Cursor, l.Message)
			}
		}
		return err
	})
}

func TestReportsThatAreNotValid(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		lines := make([]string, api.MaxLogLines+1)
		for what, c := range map[string]struct {
			p    api.Progress
			want api.Code
		}{
			"progress that is a result": {api.Progress{Status: api.Completed}, api.CodeInvalid},
			"progress without a status": {api.Progress{}, api.CodeInvalid},
			"too long a log":            {api.Progress{Status: api.Executing, ExecutionLog: lines}, api.CodeTooLarge},
		} {
			_, err := w.Progress(t.Context(), a.Identity, i.ID, c.p)
			w.wantCode(what, err, c.want)
		}
		big := json.RawMessage(`"` + strings.Repeat("x", api.MaxResultBytes) + `"`)
		for what, c := range map[string]struct {
			r    api.Result
			want api.Code
		}{
			"a result that is progress": {api.Result{Status: api.Executing}, api.CodeInvalid},
			"too large a result":        {api.Result{Status: api.Completed, Result: big}, api.CodeTooLarge},
			"too long a log":            {api.Result{Status: api.Completed, ExecutionLog: lines}, api.CodeTooLarge},
			"too much of a network":     {api.Result{Status: api.Completed, Network: make([]api.Traffic, api.MaxTraffic+1)}, api.CodeTooLarge},
			"a stale lease":             {api.Result{Status: api.Completed, Lease: "stale"}, api.CodeConflict},
			"another attempt":           {api.Result{Status: api.Completed, Attempt: 2}, api.CodeConflict},
		} {
			_, err := w.Result(t.Context(), a.Identity, i.ID, c.r)
			w.wantCode(what, err, c.want)
		}
		_, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: "dancing"})
		w.wantCode("a status that nobody knows", err, api.CodeInvalid)
		w.claims(a, i)
		w.wantCode("the result after all that", w.reports(a, i, api.Completed), "")
	})
}

// TestOneBrokenWorkflowFailsAlone applies one whose condition fails at the event.
func TestOneBrokenWorkflowFailsAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		w.apply("name: broken\ntriggers:\n  - event: test\nwhen: event.data.missing > 1\nactions:\n  - plugin: p\n")
		w.apply("name: fails-at-dispatch\ntriggers:\n  - event: test\nactions:\n  - id: act\n    plugin: p\n    with: {x: \"${{ event.data.missing }}\"}\n")
		w.sends(s, event(1), api.EventAccepted)
		w.runsAre("running", "failed")
	})
}

// An answer that an agent cannot read would be offered again for ever.
func TestAnAnswerIsNeverTooLargeToRead(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		want  int
	}{
		{"none", nil, 0},
		{"the largest alone", []int{workflow.MaxInputBytes}, 1},
		{"two of the largest", []int{workflow.MaxInputBytes, workflow.MaxInputBytes}, 1},
		{"small ones", []int{10, 10, 10}, 3},
	} {
		inWorld(t, func(t *testing.T, w world) {
			a := w.enrol(api.Action, "a", "h")
			err := w.update(t.Context(), a.Org, func(t *tx) error {
				for n, size := range c.sizes {
					text := json.RawMessage(`"` + strings.Repeat("x", size-len(`x""`)) + `"`)
					spec := instruction.Spec{ID: api.InstructionID(fmt.Sprint("I", n)), Plugin: "p", Input: map[string]json.RawMessage{"x": text}, ExpiresAt: t.now.Add(time.Hour)}
					if err := t.PutInstruction(instruction.New(spec, t.now)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			offers, err := w.Poll(t.Context(), a.Identity, 0, 16)
			if err != nil || len(offers) != c.want {
				t.Errorf("%s: %d offers, %v; want %d", c.name, len(offers), err, c.want)
			}
		})
	}
	if 3*workflow.MaxInputBytes > api.MaxPollBytes {
		t.Errorf("an input of %d bytes does not fit into an answer of %d", workflow.MaxInputBytes, api.MaxPollBytes)
	}
}
