package sqlstore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	instructionByID   = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND id = ?2`)
	instructionsOfRun = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND run = ?2 ORDER BY id`)
	// +due, so that the index of the place is taken: that of due has all that is open anywhere.
	pending = prepare(`SELECT priority, id, plugin, target FROM instructions WHERE org = ?1 AND status = 'pending' AND place = ?3 AND +due > ?2 ORDER BY priority DESC, id`)
	dueBy   = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3`)
	nextDue = prepare(`SELECT due FROM instructions WHERE org = ?1 AND due IS NOT NULL ORDER BY due LIMIT 1`)
	heldBy  = prepare(`SELECT COUNT(*) FROM instructions WHERE org = ?1 AND holder = ?2 AND holder <> ''`)
	// What an instruction is to do and whom it is for never changes: no index of that is touched.
	putInstruction = prepare(`INSERT INTO instructions (org, id, run, status, priority, due, plugin, target, place, holder, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
		ON CONFLICT (org, id) DO UPDATE SET status = excluded.status, due = excluded.due, holder = excluded.holder, doc = excluded.doc`)
	// The same for one that is known to be there, and for one that is known to stay with whom it is:
	// SQLite writes to an index whatever a statement names, changed or not.
	updateInstruction = prepare(`UPDATE instructions SET status = ?3, due = ?4, holder = ?5, doc = ?6 WHERE org = ?1 AND id = ?2`)
	updateHeld        = prepare(`UPDATE instructions SET status = ?3, due = ?4, doc = ?5 WHERE org = ?1 AND id = ?2`)
)

// ranks sort priorities; what is none of them counts as normal.
var ranks = map[string]int{api.PriorityLow: -1, api.PriorityHigh: 1}

func (r reader) Instruction(id api.InstructionID) (instruction.Instruction, error) {
	return one[instruction.Instruction](r, instructionByID, id)
}

func (r reader) RunInstructions(run api.RunID) ([]instruction.Instruction, error) {
	return all[instruction.Instruction](r, instructionsOfRun, run)
}

func (t *tx) PutInstruction(i instruction.Instruction) error {
	was, known := t.recent.instructions.known(t.org, i.ID)
	t.recent.instructions.note(t.org, i.ID, i, instructionLives(i))
	switch {
	case known && holderOf(was) == holderOf(i):
		return t.put(updateHeld, i, i.ID, i.Status, nanos(i.Due()))
	case known:
		return t.put(updateInstruction, i, i.ID, i.Status, nanos(i.Due()), holderOf(i))
	}
	target, err := encode(i.Target)
	if err != nil {
		return err
	}
	return t.put(putInstruction, i, i.ID, i.RunID, i.Status, ranks[i.Priority], nanos(i.Due()), i.Plugin, target, placeOf(i.Target), holderOf(i))
}

// holderOf is the agent that has an instruction in hand.
func holderOf(i instruction.Instruction) api.AgentID {
	if i.Status == api.Offered || i.Status == api.Executing {
		return i.Agent
	}
	return ""
}

func (r reader) Held(agent api.AgentID) (n int, err error) {
	_, err = value(r.session, heldBy, &n, r.org, agent)
	return n, err
}

// placeOf is where an agent finds what has this target: under its own id or host where
// nobody else can take it, and else where all look.
func placeOf(t instruction.Target) string {
	switch {
	case len(t.Agents) == 1:
		return placeOfAgent(t.Agents[0])
	case len(t.Agents) == 0 && t.Host != "":
		return placeOfHost(t.Host)
	}
	return ""
}

func placeOfAgent(id api.AgentID) string { return "agent " + string(id) }
func placeOfHost(name string) string     { return "host " + name }

// candidate is an instruction that an agent can take.
type candidate struct {
	priority int
	id       api.InstructionID
}

// errEnough stops a walk.
var errEnough = errors.New("enough")

func (r reader) Offerable(agent store.Agent, now time.Time, limit int) ([]api.InstructionID, error) {
	var all []candidate
	limit = store.PageSize(limit)
	for _, place := range []string{placeOfAgent(agent.ID), placeOfHost(agent.Hostname), ""} {
		some, err := r.pendingAt(place, agent, now, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.id, b.id))
	})
	found := make([]api.InstructionID, min(len(all), limit))
	for n := range found {
		found[n] = all[n].id
	}
	return found, nil
}

// pendingAt lists what an agent can take of one place, at most limit.
func (r reader) pendingAt(place string, agent store.Agent, now time.Time, limit int) (found []candidate, err error) {
	err = r.session.Query(pending, func(scan Scanner) error {
		var c candidate
		var plugin api.PluginID
		var text []byte
		if err := scan(&c.priority, &c.id, &plugin, &text); err != nil {
			return err
		}
		var target instruction.Target
		if err := json.Unmarshal(text, &target); err != nil {
			return fmt.Errorf("target of instruction %s: %w", c.id, err)
		}
		if agent.CanTake(plugin, target) {
			found = append(found, c)
		}
		if len(found) == limit {
			return errEnough
		}
		return nil
	}, r.org, now.UnixNano(), place)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

func (r reader) Due(now time.Time, limit int) ([]instruction.Instruction, error) {
	return all[instruction.Instruction](r, dueBy, now.UnixNano(), store.PageSize(limit))
}

func (r reader) Open() ([]instruction.Instruction, error) {
	return all[instruction.Instruction](r, dueBy, int64(math.MaxInt64), int64(math.MaxInt64))
}

func (r reader) NextDue() (time.Time, bool, error) { return r.next(nextDue) }
