package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

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
	err = s.operator.Follow(ctx, "/api/v1/events/follow", url.Values{"tail": {"0"}}, func(line json.RawMessage) error {
		var e operatorapi.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		st.tell("event", "%s from %s: %s", e.Type, e.Agent, e.ID)
		return nil
	})
	if ctx.Err() != nil {
		err = nil // Ctrl-C is how this ends
	}
	fmt.Fprintln(out, "\nstopping and cleaning up")
	return errors.Join(err, s.close())
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
  everything in    %s   (removed when you press Ctrl-C)

Try, in another terminal:
  dd if=/dev/zero of=%s/big bs=1M count=12     # over the limit: watch it being cleaned up
  stavily --data-dir %s runs list
  stavily --data-dir %s events list --follow

Events as they come:
`, s.URL(), s.DataDir(), probe(sensorID, "/health"), probe(actionID, "/health"), s.dir, s.watched, s.DataDir(), s.DataDir())
}
