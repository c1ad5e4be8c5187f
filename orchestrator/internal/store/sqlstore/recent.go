package sqlstore

import (
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxRecent bounds how many records of a kind a writer remembers: as many as are under way at
// a time on a busy server, of some kilobytes each.
const maxRecent = 4096

// recent are records as the writer last read or wrote them, by organisation and id, so that
// what goes from transition to transition is not read and decoded for each. It remembers them
// under the same terms as numbers: as long as nothing was undone and nobody else wrote. Nobody
// changes what is in them.
type recent struct {
	agents       remembered[api.AgentID, store.Agent]
	runs         remembered[api.RunID, store.Run]
	instructions remembered[api.InstructionID, instruction.Instruction]
}

func newRecent() *recent {
	return &recent{
		agents:       remembered[api.AgentID, store.Agent]{},
		runs:         remembered[api.RunID, store.Run]{},
		instructions: remembered[api.InstructionID, instruction.Instruction]{},
	}
}

func (r *recent) forget() {
	clear(r.agents)
	clear(r.runs)
	clear(r.instructions)
}

type remembered[ID comparable, T any] map[within[ID]]T

// within names a record of an organisation.
type within[ID comparable] struct {
	org api.OrgID
	id  ID
}

// read is a record as it is remembered, or else as it is read.
func (m remembered[ID, T]) read(org api.OrgID, id ID, read func(ID) (T, error), lives func(T) bool) (T, error) {
	if record, known := m[within[ID]{org, id}]; known {
		return record, nil
	}
	record, err := read(id)
	if err == nil {
		m.note(org, id, record, lives(record))
	}
	return record, err
}

// known is a record as it is remembered.
func (m remembered[ID, T]) known(org api.OrgID, id ID) (record T, known bool) {
	record, known = m[within[ID]{org, id}]
	return record, known
}

// note remembers a record that goes on, and forgets one that has ended: it is asked for no more,
// and may be deleted.
func (m remembered[ID, T]) note(org api.OrgID, id ID, record T, lives bool) {
	if !lives {
		delete(m, within[ID]{org, id})
		return
	}
	if len(m) >= maxRecent {
		clear(m)
	}
	m[within[ID]{org, id}] = record
}

// The records that a transition reads, which readers beside it read as they were committed.

func (t *tx) Agent(id api.AgentID) (store.Agent, error) {
	return t.recent.agents.read(t.org, id, t.reader.Agent, agentLives)
}

func (t *tx) Run(id api.RunID) (store.Run, error) {
	return t.recent.runs.read(t.org, id, t.reader.Run, runLives)
}

func (t *tx) Instruction(id api.InstructionID) (instruction.Instruction, error) {
	return t.recent.instructions.read(t.org, id, t.reader.Instruction, instructionLives)
}

func agentLives(store.Agent) bool                     { return true } // agents are revoked and never deleted
func runLives(r store.Run) bool                       { return r.FinishedAt.IsZero() }
func instructionLives(i instruction.Instruction) bool { return !i.Status.Terminal() }
