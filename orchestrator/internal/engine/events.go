package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// epochPattern is any short word: ours are 32 hexadecimal digits, other agents may
// write their 128 random bits otherwise. A client without a spool sends none.
var epochPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)

// eventsTogether is how long a transaction with events is, where another one waits: then the rest
// of its batch is in the next one. A whole batch mostly takes less.
const eventsTogether = 50 * time.Millisecond

// A stream is kept for ever: of an event that retention has removed, it alone knows that it came.
// An agent begins one with each new spool, which a container without a volume has at each start, and
// may begin so many; who invents them does not fill the disk.
const (
	streamsAtOnce = 20
	streamEach    = 3 * time.Minute
)

// Events takes a batch in one transaction, or in a few where it takes long and others wait: the
// stream's mark, the events, the runs of every workflow that they trigger, and the first
// instructions of those. The answer comes after the last commit; the same batch again, also after
// a part of it was committed, changes nothing of what was.
func (e *Engine) Events(ctx context.Context, id pki.Identity, b api.EventBatch) (api.EventBatchResponse, error) {
	if err := checkBatch(b); err != nil {
		return api.EventBatchResponse{}, err
	}
	if err := e.refuseIfFull(); err != nil {
		return api.EventBatchResponse{}, err
	}
	answer := api.EventBatchResponse{Events: make([]api.EventOutcome, 0, len(b.Events))}
	taken := e.takingIn(id, b.Events)
	for {
		var part api.EventBatchResponse
		var lost []api.Gap
		err := e.update(ctx, id.Org, func(t *tx) (err error) {
			part, lost, err = t.take(id, b, len(answer.Events))
			return err
		})
		if err != nil {
			taken(answer, err)
			return api.EventBatchResponse{}, err
		}
		e.took(ctx, id, part, lost)
		answer = api.EventBatchResponse{AckedThrough: part.AckedThrough, Events: append(answer.Events, part.Events...)}
		if len(answer.Events) == len(b.Events) {
			taken(answer, nil)
			return answer, nil
		}
	}
}

// took counts what was committed.
func (e *Engine) took(ctx context.Context, id pki.Identity, part api.EventBatchResponse, lost []api.Gap) {
	for _, o := range part.Events {
		e.counts.events.WithLabelValues(o.Status).Inc()
	}
	for _, g := range lost {
		e.counts.lost.Add(float64(g.Count))
		e.log.WarnContext(ctx, "events lost", "org", id.Org, "agent", id.Agent, "count", g.Count, "from", g.From, "to", g.To, "reason", g.Reason)
	}
}

func checkBatch(b api.EventBatch) error {
	if n := max(len(b.Events), len(b.Gaps)); n > api.MaxBatchEvents {
		return api.Errorf(api.CodeTooLarge, "The batch has %d events or gaps and may have %d; send fewer at a time.", n, api.MaxBatchEvents)
	}
	return checkEpoch(b.Stream)
}

func checkEpoch(s api.Stream) error {
	if !epochPattern.MatchString(s.Epoch) {
		return api.Errorf(api.CodeInvalid, "stream.epoch %.80q: must be at most 64 letters, digits, '_' and '-'.", s.Epoch)
	}
	return nil
}

// take settles a batch from its event number done on, or the first of them, and returns what is
// known to be lost by it.
func (t *tx) take(id pki.Identity, b api.EventBatch, done int) (answer api.EventBatchResponse, lost []api.Gap, err error) {
	before, err := t.Stream(id.Agent, b.Stream.Epoch)
	if err != nil {
		return answer, nil, err
	}
	if err := t.mayBegin(id, before); err != nil {
		return answer, nil, err
	}
	agent, err := t.Agent(id.Agent)
	if err != nil {
		return answer, nil, err
	}
	after := before
	after.Above = slices.Clone(before.Above)
	if done == 0 {
		var refusal *api.Error
		if after, lost, refusal = delivery.Begin(before, b); refusal != nil {
			return answer, nil, refusal
		}
	}
	if answer.Events, err = t.takeEvents(agent, &after, b.Events[done:]); err != nil {
		return answer, nil, err
	}
	if done+len(answer.Events) == len(b.Events) {
		lost = append(lost, after.End()...)
	}
	for _, g := range lost {
		err := t.PutGap(store.Gap{Gap: g, Agent: id.Agent, Epoch: b.Stream.Epoch, ReceivedAt: t.now})
		if err != nil {
			return answer, nil, fmt.Errorf("gap %d to %d of agent %s: %w", g.From, g.To, id.Agent, err)
		}
	}
	t.balance(id, before, after)
	answer.AckedThrough = after.Through
	return answer, lost, errors.Join(t.ahead(id, lost), t.putStream(id, before, after))
}

// mayBegin holds up an agent that begins one stream after the other.
func (t *tx) mayBegin(id pki.Identity, s delivery.Stream) error {
	if !s.New() {
		return nil
	}
	wait := t.engine.streams.Look(agentKey{id.Org, id.Agent}.String(), t.now)
	if wait == 0 {
		return nil
	}
	refusal := api.Errorf(api.CodeRateLimited, "This agent has begun %d streams of events within a short time, and may begin one every %s. Each new spool is one: keep its base_dir from one start to the next.", streamsAtOnce, streamEach)
	refusal.RetryAfter = wait.Truncate(time.Second) + time.Second
	return refusal
}

// putStream keeps a stream once something of it is settled.
func (t *tx) putStream(id pki.Identity, before, after delivery.Stream) error {
	if after.New() {
		return nil
	}
	if before.New() {
		t.count(func() { t.engine.streams.Charge(agentKey{id.Org, id.Agent}.String(), t.now) })
	}
	return t.PutStream(id.Agent, after)
}

// takeEvents settles events in a stream; at least one, if there are, and not the rest where that
// would keep another transaction waiting for long.
func (t *tx) takeEvents(agent store.Agent, s *delivery.Stream, events []api.Event) (out []api.EventOutcome, err error) {
	for _, ev := range events {
		outcome := s.Take(ev)
		if outcome.Status == api.EventAccepted {
			if err := t.takeEvent(agent, s.Epoch, ev, &outcome); err != nil {
				return nil, fmt.Errorf("event %s of agent %s: %w", ev.ID, agent.ID, err)
			}
			if outcome.Status != api.EventAccepted {
				s.Turned(ev, outcome.Status)
			}
		}
		if out = append(out, outcome); t.engine.now().Sub(t.now) >= eventsTogether && t.Awaited() {
			break
		}
	}
	return out, nil
}

// balance counts numbers that are settled and of which nothing says what became: events
// that agents forget and this server has not. There are none unless it has a fault.
func (t *tx) balance(id pki.Identity, before, after delivery.Stream) {
	odd := after.Unaccounted() - before.Unaccounted()
	if odd == 0 {
		return
	}
	t.count(func() {
		t.engine.counts.unaccounted.Add(math.Abs(float64(odd)))
		t.engine.log.Error("the counts of a stream do not balance: report this, with `stavily fsck`", "org", id.Org, "agent", id.Agent, "epoch", after.Epoch, "unaccounted", odd, "tally", after.Tally)
	})
}

// ahead has on record that an agent's events were settled before and are not known here: this
// database was restored from a backup, or the agent was with another server.
func (t *tx) ahead(id pki.Identity, gaps []api.Gap) error {
	var unknown, last uint64
	for _, g := range gaps {
		if g.Reason == delivery.ReasonSkipped {
			unknown, last = unknown+g.Count, g.To
		}
	}
	if unknown == 0 {
		return nil
	}
	t.count(func() { t.engine.counts.ahead.Add(float64(unknown)) })
	if !t.engine.refusals.first(actor(id)+" ahead", t.now) { // an agent may say so again and again
		return nil
	}
	return t.audit(actor(id), "stream.ahead", string(id.Agent), fmt.Sprintf("%d events, the last of them number %d, were acknowledged and are not in this database: they came after the backup that it was restored from", unknown, last))
}

// takeEvent stores an event that the stream accepts, unless its id is known, it is too large or
// passes itself off as one of the server's own, and starts what it triggers.
func (t *tx) takeEvent(agent store.Agent, epoch string, ev api.Event, outcome *api.EventOutcome) error {
	if n := eventSize(ev); n > api.MaxEventBytes {
		outcome.Status, outcome.Reason = api.EventRejected, fmt.Sprintf("has %d bytes of data, metadata and tags, at most %d", n, api.MaxEventBytes)
		return nil
	}
	if strings.HasPrefix(ev.Type, workflow.OwnTypes) {
		outcome.Status, outcome.Reason = api.EventRejected, fmt.Sprintf("types that begin with %s are the server's own: give it another", workflow.OwnTypes)
		return nil
	}
	err := t.AddEvent(store.Event{Event: ev, Agent: agent.ID, Epoch: epoch, ReceivedAt: t.now})
	if errors.Is(err, store.ErrExists) { // of a client without numbers, or of a spool that was restored
		outcome.Status = api.EventDuplicate
		return nil
	}
	if err != nil {
		return err
	}
	t.events = true
	came := workflow.Event{Event: ev, Agent: sensorOf(agent)}
	if err := t.offer(came); err != nil {
		return err
	}
	return t.trigger(came)
}

// sensorOf is what expressions know of an agent.
func sensorOf(a store.Agent) workflow.Agent {
	return workflow.Agent{ID: a.ID, Name: a.Name, Host: a.Hostname, Tags: a.Tags}
}

// eventSize is what an event weighs: its payload, for everything else is bounded.
func eventSize(ev api.Event) int {
	n := 0
	for _, fields := range []map[string]json.RawMessage{ev.Data, ev.Metadata} {
		for name, value := range fields {
			n += len(name) + len(value)
		}
	}
	for _, tag := range ev.Tags {
		n += len(tag)
	}
	return n
}
