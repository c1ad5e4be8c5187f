package simagents

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/pkg/api"
)

// Plugin is the plugin that the agents say that they have.
const Plugin = "simulated"

// maxOffers is how many instructions an agent takes at once: api.max_concurrent.
const maxOffers = 16

// Work takes every instruction, claims it and hands in its result at once, and calls done
// for each. It runs as many at a time as an agent.
func (a *Agent) Work(ctx context.Context, wait time.Duration, done func()) error {
	group, running := errgroup.WithContext(ctx)
	slots := make(chan struct{}, maxOffers)
	var boot [16]byte
	_, _ = rand.Read(boot[:]) // never fails
	group.Go(func() error {
		for running.Err() == nil {
			err := a.take(running, slots, wait, func(i api.Instruction) {
				group.Go(func() error {
					defer func() { <-slots }()
					if err := a.run(running, i, hex.EncodeToString(boot[:])); err != nil {
						return fmt.Errorf("instruction %s: %w", i.ID, err)
					}
					done()
					return nil
				})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ended(ctx, group.Wait())
}

// take waits for a free slot, polls for as many instructions as there are, and starts them.
func (a *Agent) take(ctx context.Context, slots chan struct{}, wait time.Duration, start func(api.Instruction)) error {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	free := 1
	for more := true; more; {
		select {
		case slots <- struct{}{}:
			free++
		default:
			more = false
		}
	}
	answer, err := a.Poll(ctx, wait, free)
	if err != nil {
		return err
	}
	offers := answer.Offers()
	for range free - len(offers) {
		<-slots
	}
	for _, i := range offers {
		start(i)
	}
	return nil
}

func (a *Agent) run(ctx context.Context, i api.Instruction, boot string) error {
	begin := time.Now()
	if _, err := a.Progress(ctx, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: boot}); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	_, err := a.Result(ctx, i.ID, api.Result{
		Status: api.Completed, Result: json.RawMessage(`{"freed_bytes":1048576}`), Attempt: i.Attempt, Lease: i.Lease,
		StartedAt: api.At(begin), FinishedAt: api.At(time.Now()), DurationMS: 1,
		ResourceUsage: &api.ResourceUsage{CPUSeconds: 0.01, MaxRSSBytes: 9400000}, Plugin: &api.PluginRef{ID: i.PluginID, Version: "1.0.0"}, Sandbox: posture,
	})
	return err
}

// Sensor is an agent's stream of events.
type Sensor struct {
	agent *Agent
	epoch string
	seq   uint64
}

// Sensor begins a stream.
func (a *Agent) Sensor() *Sensor {
	var epoch [16]byte
	_, _ = rand.Read(epoch[:])
	return &Sensor{agent: a, epoch: hex.EncodeToString(epoch[:])}
}

// Push hands in n events of a type and returns once they are durable. It is not for
// concurrent use: an agent has one batch in flight.
func (s *Sensor) Push(ctx context.Context, typ string, n int) error {
	batch := api.EventBatch{Stream: api.Stream{Epoch: s.epoch}, Events: make([]api.Event, n)}
	for i := range batch.Events {
		s.seq++
		batch.Events[i] = event(typ, int(s.seq))
		batch.Events[i].Seq = s.seq
	}
	answer, err := s.agent.Events(ctx, batch)
	if err != nil {
		return err
	}
	if answer.AckedThrough != s.seq {
		return fmt.Errorf("acknowledged through %d, want %d", answer.AckedThrough, s.seq)
	}
	return nil
}

// Post hands in one event that belongs to no stream and says seq, and returns once it is
// durable. It may be called at any time: a slow answer holds up no other.
func (a *Agent) Post(ctx context.Context, typ string, seq int) error {
	answer, err := a.Events(ctx, api.EventBatch{Events: []api.Event{event(typ, seq)}})
	if err == nil && (len(answer.Events) != 1 || answer.Events[0].Status != api.EventAccepted) {
		err = fmt.Errorf("event %d was not accepted: %+v", seq, answer)
	}
	return err
}

func event(typ string, seq int) api.Event {
	return api.Event{
		ID: api.EventID(ulid.Make().String()), Type: typ, Source: Plugin, Monitor: "simulated", Timestamp: api.At(time.Now()), Severity: api.Low,
		Data: map[string]json.RawMessage{"seq": fmt.Append(nil, seq), "value": json.RawMessage("42"), "mount": json.RawMessage(`"/var"`)},
	}
}
