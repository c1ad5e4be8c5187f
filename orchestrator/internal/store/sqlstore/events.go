package sqlstore

import (
	"cmp"
	"errors"
	"math"
	"time"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	streamByEpoch = prepare(`SELECT doc FROM streams WHERE org = ?1 AND agent = ?2 AND epoch = ?3`)
	putStream     = prepare(`INSERT INTO streams (org, agent, epoch, doc) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT (org, agent, epoch) DO UPDATE SET doc = excluded.doc`)

	eventByID    = prepare(`SELECT doc FROM events WHERE org = ?1 AND agent = ?2 AND id = ?3`)
	eventsAfter  = prepare(`SELECT doc FROM events WHERE org = ?1 AND n > ?2 AND (?3 = '' OR type = ?3) AND (?4 = '' OR agent = ?4) ORDER BY n LIMIT ?5`)
	newestEvents = prepare(`SELECT doc FROM events WHERE org = ?1 AND n > ?2 AND (?3 = '' OR type = ?3) AND (?4 = '' OR agent = ?4) AND n < ?6 ORDER BY n DESC LIMIT ?5`)
	lastEvent    = prepare(`SELECT COALESCE(MAX(n), 0) FROM events WHERE org = ?1`)
	addEvent     = prepare(`INSERT INTO events (org, n, agent, id, type, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING`)

	// Through the index, agent by agent: an index of its own would cost every event.
	eventsWithID = prepare(`SELECT doc FROM events WHERE org = ?1 AND agent IN (SELECT id FROM agents WHERE org = ?1 UNION ALL SELECT '` + string(store.OwnSender) + `') AND id = ?2 ORDER BY agent`)

	evaluationsOf = prepare(`SELECT doc FROM evaluations WHERE org = ?1 AND event = ?2 ORDER BY agent, workflow`)
	putEvaluation = prepare(`INSERT INTO evaluations (org, event, agent, workflow, shadow, foreseen, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (org, event, agent, workflow) DO UPDATE SET shadow = excluded.shadow, foreseen = excluded.foreseen, doc = excluded.doc`)
	shadowed = prepare(`SELECT doc FROM evaluations WHERE org = ?1 AND workflow = ?2 AND shadow <> 0 AND shadow >= ?3 AND (shadow, event, agent) < (?4, ?5, ?6)
		ORDER BY shadow DESC, event DESC, agent DESC LIMIT ?7`)
	foreseenFrom  = prepare(`SELECT COUNT(*) FROM (SELECT 1 FROM evaluations WHERE org = ?1 AND workflow = ?2 AND foreseen <> '' AND shadow >= ?3 LIMIT ?4) AS found`)
	foreseenOfKey = prepare(`SELECT doc FROM evaluations WHERE org = ?1 AND workflow = ?2 AND foreseen <> '' AND foreseen = ?3 AND shadow >= ?4 ORDER BY shadow DESC LIMIT ?5`)

	gapsOfAgent = prepare(`SELECT doc FROM gaps WHERE org = ?1 AND agent = ?2 ORDER BY received, epoch, first`)
	newestGaps  = prepare(`SELECT doc FROM gaps WHERE org = ?1 AND agent = ?2 ORDER BY received DESC, epoch DESC, first DESC LIMIT ?3`)
	putGap      = prepare(`INSERT INTO gaps (org, agent, epoch, first, received, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (org, agent, epoch, first) DO UPDATE SET received = excluded.received, doc = excluded.doc`)
)

func (r reader) Stream(agent api.AgentID, epoch string) (delivery.Stream, error) {
	s, err := one[delivery.Stream](r, streamByEpoch, agent, epoch)
	if errors.Is(err, store.ErrNotFound) {
		return delivery.Stream{Epoch: epoch}, nil
	}
	return s, err
}

func (t *tx) PutStream(agent api.AgentID, s delivery.Stream) error {
	return t.put(putStream, s, agent, s.Epoch)
}

func (r reader) Event(agent api.AgentID, id api.EventID) (store.Event, error) {
	return one[store.Event](r, eventByID, agent, id)
}

func (r reader) Events(q store.EventQuery) ([]store.Event, error) {
	if q.Newest {
		return all[store.Event](r, newestEvents, q.After, q.Type, q.Agent, store.PageSize(q.Limit), cmp.Or(q.Before, math.MaxInt64))
	}
	return all[store.Event](r, eventsAfter, q.After, q.Type, q.Agent, store.PageSize(q.Limit))
}

func (r reader) EventsWithID(id api.EventID) ([]store.Event, error) {
	return all[store.Event](r, eventsWithID, id)
}

func (r reader) Evaluations(id api.EventID) ([]store.Evaluation, error) {
	return all[store.Evaluation](r, evaluationsOf, id)
}

func (t *tx) PutEvaluation(e store.Evaluation) error {
	decision := e.Decision
	e.Decision = nil
	return t.putWith("Decision", decision, putEvaluation, e, e.Event, e.Agent, e.Workflow, shadowAt(e), e.Foreseen)
}

// shadowAt is the time of an evaluation by a workflow in mode shadow, and 0 for every other.
func shadowAt(e store.Evaluation) int64 {
	if !e.Shadow {
		return 0
	}
	return e.At.UnixNano()
}

func (r reader) Shadowed(workflow string, from time.Time, before store.Evaluation, limit int) ([]store.Evaluation, error) {
	if before.At.IsZero() {
		before.At = time.Unix(0, math.MaxInt64)
	}
	return all[store.Evaluation](r, shadowed, workflow, from.UnixNano(), before.At.UnixNano(), before.Event, before.Agent, store.PageSize(limit))
}

func (r reader) ForeseenFrom(workflow string, from time.Time, limit int) (n int, err error) {
	_, err = value(r.session, foreseenFrom, &n, r.org, workflow, from.UnixNano(), limit)
	return n, err
}

func (r reader) ForeseenOfKey(workflow, key string, from time.Time, limit int) ([]store.Evaluation, error) {
	return all[store.Evaluation](r, foreseenOfKey, workflow, key, from.UnixNano(), limit)
}

func (t *tx) AddEvent(e store.Event) (err error) {
	if e.Cursor, err = t.number(lastEvent); err != nil {
		return err
	}
	return t.add(addEvent, e, e.Cursor, e.Agent, e.ID, e.Type)
}

func (r reader) Gaps(agent api.AgentID) ([]store.Gap, error) {
	return all[store.Gap](r, gapsOfAgent, agent)
}

func (r reader) NewestGaps(agent api.AgentID, limit int) ([]store.Gap, error) {
	return all[store.Gap](r, newestGaps, agent, store.PageSize(limit))
}

// PutGap keeps the number that the gap begins at in 64 bits with a sign; of numbers
// above 2^63 only the order suffers.
func (t *tx) PutGap(g store.Gap) error {
	return t.put(putGap, g, g.Agent, g.Epoch, int64(g.From), g.ReceivedAt.UnixNano())
}
