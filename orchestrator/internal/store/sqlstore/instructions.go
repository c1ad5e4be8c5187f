package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	instructionByID   = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND id = ?2`)
	instructionsOfRun = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND run = ?2 ORDER BY id`)
	pending           = prepare(`SELECT id, plugin, target FROM instructions WHERE org = ?1 AND status = 'pending' AND due > ?2 ORDER BY priority DESC, id`)
	dueBy             = prepare(`SELECT doc FROM instructions WHERE org = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3`)
	nextDue           = prepare(`SELECT due FROM instructions WHERE org = ?1 AND due IS NOT NULL ORDER BY due LIMIT 1`)
	putInstruction    = prepare(`INSERT INTO instructions (org, id, run, status, priority, due, plugin, target, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (org, id) DO UPDATE SET run = excluded.run, status = excluded.status, priority = excluded.priority, due = excluded.due,
			plugin = excluded.plugin, target = excluded.target, doc = excluded.doc`)
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
	target, err := encode(i.Target)
	if err != nil {
		return err
	}
	return t.put(putInstruction, i, i.ID, i.RunID, i.Status, ranks[i.Priority], nanos(i.Due()), i.Plugin, target)
}

// errEnough stops a walk.
var errEnough = errors.New("enough")

func (r reader) Offerable(agent store.Agent, now time.Time, limit int) ([]instruction.Instruction, error) {
	var ids []api.InstructionID
	limit = store.PageSize(limit)
	err := r.session.Query(pending, func(scan Scanner) error {
		var id api.InstructionID
		var plugin api.PluginID
		var text []byte
		if err := scan(&id, &plugin, &text); err != nil {
			return err
		}
		var target instruction.Target
		if err := json.Unmarshal(text, &target); err != nil {
			return fmt.Errorf("target of instruction %s: %w", id, err)
		}
		if agent.CanTake(plugin, target) {
			ids = append(ids, id)
		}
		if len(ids) == limit {
			return errEnough
		}
		return nil
	}, r.org, now.UnixNano())
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	found := make([]instruction.Instruction, len(ids))
	for n, id := range ids {
		if found[n], err = r.Instruction(id); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (r reader) Due(now time.Time, limit int) ([]instruction.Instruction, error) {
	return all[instruction.Instruction](r, dueBy, now.UnixNano(), store.PageSize(limit))
}

func (r reader) NextDue() (time.Time, bool, error) { return r.next(nextDue) }
