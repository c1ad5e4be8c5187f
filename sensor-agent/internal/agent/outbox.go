package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// outbox takes events from plugins and keeps them until the orchestrator has them.
type outbox struct {
	rt    *agent.Runtime
	spool *agent.Spool

	before   uint64        // events that the spool had taken when this process began
	emitted  atomic.Uint64 // that plugins were told are accepted, since then
	stuck    uint64        // number of the event that a proxy took last to be too large; of deliver alone
	refusals []uint64      // numbers that answers refused and that wait to be acknowledged; of deliver alone

	accepted  *telemetry.CounterVec
	delivered *telemetry.Counter
	rejected  *telemetry.Counter
}

func newOutbox(rt *agent.Runtime, spool *agent.Spool) *outbox {
	o := &outbox{
		rt: rt, spool: spool, before: spool.Account().Taken,
		accepted:  rt.Metrics.CounterVec("events_accepted_total", "Events that plugins were told are accepted, by monitor.", "monitor"),
		delivered: rt.Metrics.Counter("events_delivered_total", "Events that the orchestrator acknowledged."),
		rejected:  rt.Metrics.Counter("events_rejected_total", "Events that the orchestrator refused for good."),
	}
	rt.Metrics.GaugesFunc("events_account", "Events since the spool was made, by what became of them; emitted are as many as all others together.", "account", func(context.Context) map[string]float64 {
		a := o.account()
		return map[string]float64{
			"emitted": float64(a.Taken), "delivered": float64(a.Delivered), "rejected": float64(a.Rejected), "refused": float64(a.Refused),
			"corrupt": float64(a.Corrupt), "unseen": float64(a.Unseen), "waiting": float64(a.Waiting),
		}
	})
	rt.Metrics.GaugeFunc("events_unaccounted", "Emitted events of which nothing says what became: 0 but for a moment, or the agent has a fault.", func() float64 {
		return float64(o.account().Unaccounted())
	})
	rt.Metrics.GaugeFunc("spool_events", "Events that wait for the orchestrator.", func() float64 { return float64(o.stats().Depth) })
	rt.Metrics.GaugeFunc("spool_bytes", "Size of the event spool on disk.", func() float64 { return float64(o.stats().Bytes) })
	rt.Metrics.GaugeFunc("spool_oldest_seconds", "Age of the first event that waits.", func() float64 {
		if oldest := o.stats().Oldest; !oldest.IsZero() {
			return time.Since(oldest).Seconds()
		}
		return 0
	})
	return o
}

// account is the spool's, with what plugins were told in place of what it took: the one is
// counted here and the other on disk.
func (o *outbox) account() agent.SpoolAccount {
	emitted := o.before + o.emitted.Load()
	a := o.spool.Account()
	a.Taken = emitted
	return a
}

// conditionUnaccounted is of counts that do not balance.
const conditionUnaccounted = "events_unaccounted"

// acknowledge settles the spool, and looks whether that has lost count of an event.
func (o *outbox) acknowledge(through uint64) error {
	if err := o.spool.Ack(through, o.refusals...); err != nil {
		return err
	}
	o.refusals = slices.DeleteFunc(o.refusals, func(seq uint64) bool { return seq <= through })
	if n := o.spool.Account().Unaccounted(); n != 0 {
		o.rt.Health.Set(conditionUnaccounted, agent.Degraded, false, fmt.Sprintf("of %d events nothing says whether they were delivered or lost", n), "report this with the output of `status`: it is a fault of the agent")
	}
	return nil
}

// stats of a spool that cannot be read are empty; reading it for delivery says why.
func (o *outbox) stats() (s agent.SpoolStats) {
	s, _ = o.spool.Stats()
	return s
}

// acceptLimit is how long a plugin waits for room in a full spool before it is told. A
// variable for tests, set before anything runs.
var acceptLimit = 30 * time.Second

// notStored is why an event is not on disk that may well be stored later.
type notStored struct{ error }

func (n *notStored) Unwrap() error { return n.error }

// accept gives an event its id and returns once it is on disk. Where the spool or the disk has
// no room, the spool's for acceptLimit, the error is a *notStored.
func (o *outbox) accept(ctx context.Context, e api.Event) (id api.EventID, err error) {
	e.ID = api.EventID(ulid.Make().String())
	span := o.emitting(&e)
	defer func() { endEmit(span, err) }()
	payload, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("event %s: %w", e.Type, err)
	}
	if len(payload) > api.MaxEventBytes {
		return "", fmt.Errorf("event %s has %d bytes and may have %d: send less data", e.Type, len(payload), api.MaxEventBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptLimit)
	defer cancel()
	if err := o.store(ctx, payload, e.Severity == api.Critical); err != nil {
		if errors.Is(err, agent.ErrBroken) {
			o.rt.Fail(err)
		}
		o.rt.Health.Set("spool", agent.Degraded, true, err.Error(), "see whether the orchestrator can be reached and the disk has room")
		return "", err
	}
	o.rt.Health.Clear("spool")
	o.emitted.Add(1)
	o.accepted.WithLabelValues(e.Monitor).Inc()
	return e.ID, nil
}

// store makes an event durable. The last of the disk is for critical ones. An error that would
// be the same at any other time is no *notStored.
func (o *outbox) store(ctx context.Context, payload []byte, critical bool) error {
	if err := o.rt.Room(); err != nil && !critical {
		return &notStored{err}
	}
	_, err := o.spool.Append(ctx, payload, critical)
	if err == nil || errors.Is(err, agent.ErrBroken) || errors.Is(err, agent.ErrTooLarge) {
		return err
	}
	return &notStored{err}
}

// deliver sends what waits, in order, until ctx ends.
func (o *outbox) deliver(ctx context.Context) error {
	limit := o.rt.Config().API.Timeout.Duration()
	var state agent.Delivery
	var input agent.DeliveryInput = o.appended()
	for {
		o.rt.Health.Beat("delivery", deliveryPatience+4*limit)
		retry := o.rt.Config().API.Retry
		state.First, state.Most = retry.InitialInterval.Duration(), retry.MaxInterval.Duration()
		var effects []agent.DeliveryEffect
		state, effects = agent.StepDelivery(state, input)
		var err error
		if input, err = o.carryOut(ctx, effects); err != nil {
			return err
		}
		// An answer that came is still acted on: what it acknowledges is not sent again.
		if _, answered := input.(agent.Answered); ctx.Err() != nil && !answered {
			return nil
		}
		if input != nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.spool.Appended():
		case <-time.After(limit): // to beat
		}
		input = o.appended()
	}
}

// deliveryPatience is the longest pause of the machine, with what a wrong Retry-After
// may add.
const deliveryPatience = 20 * time.Minute

func (o *outbox) appended() agent.Appended {
	s := o.stats()
	return agent.Appended{Acked: s.Last - s.Depth, Last: s.Last}
}

// carryOut does what the machine wants and returns what came of it; nil when nothing
// is under way.
func (o *outbox) carryOut(ctx context.Context, effects []agent.DeliveryEffect) (input agent.DeliveryInput, err error) {
	for _, e := range effects {
		switch e := e.(type) {
		case agent.Ack:
			err = o.acknowledge(e.Through)
		case agent.SetAside:
			o.rt.Log.Error("an event that the orchestrator never takes is set aside", "seq", e.Seq, "reason", e.Reason)
			err = o.spool.SetAside(e.Seq, e.Reason)
		case agent.Renew:
			o.rt.Log.Warn("the orchestrator knows numbers that were never given out: the stream goes on under a new epoch")
			err = o.spool.Renew()
		case agent.Wait:
			input = agent.Elapsed{}
			select {
			case <-ctx.Done():
			case <-time.After(e.Duration):
			}
		case agent.Send:
			input, err = o.send(ctx, e.Max)
		}
		if err != nil {
			return nil, err
		}
	}
	return input, nil
}

// batchRoom leaves space in a batch for its envelope.
const batchRoom = api.MaxBatchBytes - api.MaxEventBytes

// send makes one call and tells what came of it. An error is the spool's.
func (o *outbox) send(ctx context.Context, most int) (agent.DeliveryInput, error) {
	b, err := o.spool.Batch(most, batchRoom)
	if err != nil {
		return nil, err
	}
	batch := api.EventBatch{Stream: api.Stream{Epoch: b.Epoch}, Events: make([]api.Event, len(b.Records)), Gaps: b.Gaps}
	first := uint64(0)
	for i, r := range b.Records {
		if err := json.Unmarshal(r.Payload, &batch.Events[i]); err != nil { // its checksum held: it never was an event
			if err := o.spool.SetAside(r.Seq, "corrupt"); err != nil {
				return nil, err
			}
			return o.send(ctx, most)
		}
		batch.Events[i].Seq = r.Seq
		first = b.Records[0].Seq
	}
	begin := time.Now()
	answer, err := o.rt.API.Events(ctx, batch)
	o.rt.NoteContact(err)
	if err != nil {
		failed := o.rt.NotTaken(err, b.Items(), first)
		o.noteSize(failed, err)
		return failed, nil
	}
	o.noteSize(agent.Failed{}, nil)
	o.count(answer)
	o.delivering(batch.Events, answer.Events, begin)
	return agent.Answered{AckedThrough: answer.AckedThrough, Last: o.stats().Last, Records: len(b.Records), Random: o.rt.Random()}, nil
}

// conditionTooLarge holds while a proxy takes not even a single event.
const conditionTooLarge = "event_too_large"

// noteSize tells of an event that waits until somebody raises the limit of what is in between.
func (o *outbox) noteSize(f agent.Failed, err error) {
	switch {
	case err == nil:
		o.rt.Health.Clear(conditionTooLarge)
		return
	case f.Class != agent.Oversize || f.Items > 1:
		return
	}
	o.rt.Health.Set(conditionTooLarge, agent.Degraded, false, fmt.Sprintf("event %d is not taken for its size: %v", f.First, err),
		"have what stands between this agent and the orchestrator take bodies of 1 MiB (in nginx: client_max_body_size 1m); until then this event and those behind it are kept and tried again")
	if o.stuck != f.First { // once for each, not at each try
		o.stuck = f.First
		o.rt.Log.Warn("an event is too large for a proxy in between and waits until its limit is raised", "seq", f.First, telemetry.KeyError, err)
	}
}

func (o *outbox) count(answer api.EventBatchResponse) {
	for _, e := range answer.Events {
		if e.Status == api.EventRejected {
			o.rejected.Inc()
			o.refusals = append(o.refusals, e.Seq)
			o.rt.Log.Warn("event refused", telemetry.KeyEvent, e.ID, "reason", e.Reason)
			continue
		}
		o.delivered.Inc()
	}
}
