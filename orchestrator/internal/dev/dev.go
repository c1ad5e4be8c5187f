package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// Run keeps the demo's set-up running for a person until ctx is cancelled, tells
// every event and run on out, and cleans up.
func Run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "stavily-dev-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	logs := &tail{}
	s, err := newSetup(ctx, dir, 0, logs.line)
	if err != nil {
		return errors.Join(fmt.Errorf("%w\nthe last lines of the processes:\n%s", err, logs), s.close())
	}
	s.guide(out)
	st := newStory(out)
	watching, stop := context.WithCancel(ctx)
	var runs sync.WaitGroup
	runs.Go(func() { s.tellRuns(watching, st) })
	err = s.operator.Follow(ctx, "/api/v1/events/follow", url.Values{"tail": {"0"}}, func(line json.RawMessage) error {
		var e operatorapi.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		st.tell("event", "%s from %s: %s", e.Type, e.Agent, e.ID)
		return nil
	})
	stop()
	runs.Wait()
	if ctx.Err() != nil {
		err = nil // Ctrl-C is how this ends
	}
	fmt.Fprintln(out, "\nstopping and cleaning up")
	return errors.Join(err, s.close())
}

// tellRuns tells each new status of each run until ctx ends. It looks twice a second:
// this is for reading along, `stavily runs logs --follow` is exact.
func (s *setup) tellRuns(ctx context.Context, st *story) {
	known := map[api.RunID]string{}
	for {
		var runs []operatorapi.Run
		if err := s.operator.Do(ctx, "GET", "/api/v1/runs", nil, nil, &runs); err != nil && ctx.Err() == nil {
			st.tell("run", "cannot be listed: %v", err)
		}
		for _, r := range slices.Backward(runs) { // the newest comes first
			if known[r.ID] != r.Status {
				known[r.ID] = r.Status
				st.tell("run", "%s %s: %s", r.Workflow, r.ID, r.Status)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// guide prints where everything is and what to try.
func (s *setup) guide(out io.Writer) {
	probe := func(id string, path string) string {
		addr, err := s.Agent(api.AgentID(id)).Endpoint("health")
		if err != nil {
			return err.Error()
		}
		return "http://" + addr + path
	}
	fmt.Fprintf(out, `A server, a sensor agent and an action agent are running over mutual TLS.

  agent API        %s
  operator         stavily --data-dir %s …
  sensor agent     %s
  action agent     %s
  trusted keys     %s   (of plugin packages; empty)
  everything in    %s   (removed when you press Ctrl-C)

Try, in another terminal:
  dd if=/dev/zero of=%s/big bs=1M count=12     # over the limit: watch it being cleaned up
  stavily --data-dir %s runs list
  stavily --data-dir %s events list --follow

Events and runs as they come:
`, s.URL(), s.DataDir(), probe(sensorID, "/health"), probe(actionID, "/health"), s.trusted(), s.dir, s.watched, s.DataDir(), s.DataDir())
}
