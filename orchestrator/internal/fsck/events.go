package fsck

import (
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type streamKey struct {
	agent api.AgentID
	epoch string
}

// settled is what a stream says of itself, and how many of its numbers are stored.
type settled struct {
	stream delivery.Stream
	events uint64
}

func (s *settled) has(seq uint64) bool {
	if seq <= s.stream.Through {
		return true
	}
	for _, span := range s.stream.Above {
		if span.From <= seq && seq <= span.To {
			return true
		}
	}
	return false
}

// events looks at each event and at what its stream says of it.
func (c *check) events() error {
	var after int64
	for {
		events, err := c.Events(store.EventQuery{After: after, Limit: page})
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if after == 0 {
				c.oldest, c.pruned = e.ReceivedAt, e.Cursor > 1
			}
			if e.Cursor <= after {
				c.found("event "+string(e.ID), "its cursor %d comes after %d", e.Cursor, after)
			}
			after = max(after, e.Cursor)
			c.report.Events++
			if err := c.event(e); err != nil {
				return err
			}
		}
	}
}

func (c *check) event(e store.Event) error {
	if e.Epoch == "" || e.Seq == 0 {
		return nil // of a sender without a stream
	}
	key := streamKey{e.Agent, e.Epoch}
	s := c.streams[key]
	if s == nil {
		stream, err := c.Stream(e.Agent, e.Epoch)
		if err != nil {
			return err
		}
		s = &settled{stream: stream}
		c.streams[key] = s
	}
	s.events++
	if !s.has(e.Seq) {
		c.found("event "+string(e.ID), "it is number %d of its stream, which has not settled that", e.Seq)
	}
	return nil
}

// stream counts: a number is an event, a gap or a refusal, and never two of them.
func (c *check) stream() error {
	gaps := map[streamKey]uint64{}
	known := map[api.AgentID]bool{}
	for key := range c.streams {
		if known[key.agent] {
			continue
		}
		known[key.agent] = true
		all, err := c.Gaps(key.agent)
		if err != nil {
			return err
		}
		for _, g := range all {
			gaps[streamKey{g.Agent, g.Epoch}] += g.Count
		}
	}
	for key, s := range c.streams {
		object, tally := fmt.Sprintf("stream %s of agent %s", key.epoch, key.agent), s.stream.Tally
		if have := s.events + gaps[key]; have > s.stream.Settled() {
			c.found(object, "it has %d events and %d known to be lost, and has settled %d numbers", s.events, gaps[key], s.stream.Settled())
		}
		if odd := s.stream.Unaccounted(); odd != 0 {
			c.found(object, "it has settled %d numbers, of which its counts have %d too few: %+v", s.stream.Settled(), odd, tally)
		}
		if most := tally.Stored + tally.Before; tally != (delivery.Tally{}) && (s.events > most || s.events < tally.Stored && !c.pruned) {
			c.found(object, "it says that %d events were stored, and %d are there", tally.Stored, s.events)
		}
	}
	return nil
}
