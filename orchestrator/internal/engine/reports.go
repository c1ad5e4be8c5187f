package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// What an agent says of itself in a heartbeat.
const (
	StatusOnline   = "online"
	StatusDraining = "draining"
	StatusOffline  = "offline"
)

// Heartbeat records that the agent lives and what it has. Its host name is not among
// that: it was taken at enrolment, because it decides what same_host means.
func (e *Engine) Heartbeat(ctx context.Context, id pki.Identity, h api.Heartbeat) (api.HeartbeatResponse, error) {
	if !slices.Contains([]string{StatusOnline, StatusDraining, StatusOffline}, h.Status) {
		return api.HeartbeatResponse{}, api.Errorf(api.CodeInvalid, "status %.40q: must be online, draining or offline.", h.Status)
	}
	if err := checkTexts(append(postureTexts(h.Sandbox), h.Version)); err != nil {
		return api.HeartbeatResponse{}, err
	}
	if err := checkTexts(h.Tags); err != nil {
		return api.HeartbeatResponse{}, err
	}
	if err := checkReports(h.Assigned); err != nil {
		return api.HeartbeatResponse{}, err
	}
	if err := checkSecretsKey(h.SecretsKey); err != nil {
		return api.HeartbeatResponse{}, err
	}
	if err := checkAuthorities(h.Authorities); err != nil {
		return api.HeartbeatResponse{}, err
	}
	answer := api.HeartbeatResponse{ServerTime: api.At(e.now()), HeartbeatSeconds: int(restfulHeartbeat / time.Second)}
	if known, err := e.agent(ctx, id); err == nil && tellsNothing(known, h) {
		err := errors.Join(e.hearOf(ctx, id, known, e.now()), e.advise(ctx, &answer, id, h))
		return answer, err
	}
	err := e.update(ctx, id.Org, func(t *tx) error {
		a, err := t.Agent(id.Agent)
		if err != nil {
			return err
		}
		if err := t.postureChanged(id, a.Sandbox, h.Sandbox); err != nil {
			return err
		}
		before := a
		gained := h.Sandbox.String() != a.Sandbox.String()
		if answer.SecretsKeyRefused, err = t.secretsKey(id, &a, h.SecretsKey); err != nil {
			return err
		}
		gained = gained || a.SecretsKey != before.SecretsKey
		a.LastSeen, a.Lost, a.Status, a.Version = t.now, false, h.Status, h.Version
		a.Health, a.Sandbox, a.Monitors, a.Authorities = h.Health, h.Sandbox, h.Monitors, h.Authorities
		if h.Tags != nil {
			gained = gained || !slices.Equal(a.Tags, h.Tags)
			a.Tags = h.Tags
		}
		if h.Plugins != nil {
			gained = gained || !slices.Equal(a.Plugins, h.Plugins)
			a.Plugins = h.Plugins
		}
		if gained { // work that waited for a plugin or a sandbox may have found its agent
			t.waiting = append(t.waiting, work{Target: instruction.Target{Agents: []api.AgentID{id.Agent}}})
		}
		return errors.Join(t.reported(&a, h.Assigned), t.PutAgent(a), t.heard(before, a))
	})
	if err == nil {
		err = e.advise(ctx, &answer, id, h)
	}
	return answer, err
}

// tellsNothing reports whether a heartbeat says only what is known.
func tellsNothing(a *store.Agent, h api.Heartbeat) bool {
	return !a.LastSeen.IsZero() && h.Assigned == nil && len(a.Assigned) == 0 &&
		a.Status == h.Status && a.Version == h.Version && (h.SecretsKey == "" || h.SecretsKey == a.SecretsKey) &&
		reflect.DeepEqual(a.Sandbox, h.Sandbox) && reflect.DeepEqual(a.Health, h.Health) && reflect.DeepEqual(a.Monitors, h.Monitors) &&
		slices.Equal(a.Authorities, h.Authorities) &&
		(h.Tags == nil || slices.Equal(a.Tags, h.Tags)) && (h.Plugins == nil || reflect.DeepEqual(a.Plugins, h.Plugins))
}

// Logs keeps lines that plugins of the agent wrote. A line about an instruction that
// is not the agent's is refused with the whole batch. They are copies, and the first to give
// way where the disk is nearly full.
func (e *Engine) Logs(ctx context.Context, id pki.Identity, b api.LogBatch) (api.LogBatchResponse, error) {
	if err := e.refuseIfFull(); err != nil {
		return api.LogBatchResponse{}, err
	}
	if len(b.Logs) > api.MaxLogLines {
		return api.LogBatchResponse{}, api.Errorf(api.CodeTooLarge, "The batch has %d entries and may have %d; send fewer at a time.", len(b.Logs), api.MaxLogLines)
	}
	if err := checkEpoch(b.Stream); err != nil {
		return api.LogBatchResponse{}, err
	}
	runs, err := e.runsOf(ctx, id, b.Logs)
	if err != nil {
		return api.LogBatchResponse{}, err
	}
	from := b.From
	for rest := b.Logs; len(rest) > 0; {
		var done int
		err := e.update(ctx, id.Org, func(t *tx) (err error) {
			done, err = t.addEntries(id.Agent, b.Stream.Epoch, from, rest, runs)
			return err
		})
		if err != nil {
			return api.LogBatchResponse{}, err
		}
		rest = rest[done:]
		if from != 0 {
			from += done
		}
	}
	return api.LogBatchResponse{Accepted: len(b.Logs)}, nil
}

// How many entries are stored in one transaction: at least a few, for what it costs to commit them,
// and no more than these where another transaction waits.
const (
	leastTogether = 10
	mostTogether  = 50
)

// addEntries stores the first of an agent's entries, of which the first has number from in a stream,
// except those that have come before, as far as their numbers tell. It returns how many it is done with.
func (t *tx) addEntries(id api.AgentID, epoch string, from int, entries []api.LogEntry, runs map[api.InstructionID]api.RunID) (done int, err error) {
	var a store.Agent
	if from != 0 {
		if a, err = t.Tx.Agent(id); err != nil { // as it is written: who it is and what it may stays as it was
			return 0, err
		}
		if a.LogStream != epoch {
			a.LogStream, a.LogLines = epoch, 0
		}
	}
	fresh := notBefore(a.LogLines, from, entries)
	done = len(entries) - len(fresh)
	fresh = fresh[:min(len(fresh), mostTogether)]
	if len(fresh) == 0 {
		return done, nil
	}
	t.runs = true
	for some := range slices.Chunk(fresh, leastTogether) {
		rows := make([]store.Log, len(some))
		for n, l := range some {
			rows[n] = store.Log{
				At: l.Timestamp.Time, ReceivedAt: t.now, Agent: id, Instruction: l.InstructionID, Run: runs[l.InstructionID],
				Level: l.Level, Plugin: l.Plugin, Message: cut(l.Message),
			}
		}
		if err := t.AddLogs(rows); err != nil {
			return 0, err
		}
		if done += len(some); t.Awaited() {
			break
		}
	}
	if from == 0 {
		return done, nil
	}
	a.LogLines = lastOf(from, entries[:done])
	return done, t.Tx.PutAgent(a)
}

// runsOf is which runs the instructions that entries name belong to. One that is not the agent's
// refuses them all.
func (e *Engine) runsOf(ctx context.Context, id pki.Identity, logs []api.LogEntry) (runs map[api.InstructionID]api.RunID, err error) {
	runs = map[api.InstructionID]api.RunID{"": ""}
	err = e.View(ctx, id.Org, func(r store.Reader) error {
		for _, l := range logs {
			if _, known := runs[l.InstructionID]; known {
				continue
			}
			i, err := own(r, id, l.InstructionID)
			if err != nil {
				return err
			}
			runs[i.ID] = i.RunID
		}
		return nil
	})
	return runs, err
}

// cut bounds one log line.
func cut(line string) string {
	if len(line) <= api.MaxLogLineBytes {
		return line
	}
	return line[:api.MaxLogLineBytes] + "…"
}
