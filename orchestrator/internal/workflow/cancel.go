package workflow

import (
	"fmt"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

func (m *machine) cancel(in Cancel) {
	if m.s.Cancelled || m.s.Done {
		return
	}
	if m.s.Status == Queued {
		m.s.Status = Running // for as long as it takes to end
	}
	m.s.Cancelled = true
	m.record(CancelRequested, "", "%s", clip(in.Reason))
	for _, id := range m.ids() {
		switch s := m.s.Steps[id]; s.Status {
		case StepDispatched:
			m.emit(CancelStep{id})
		case StepRunning:
			if s.Fleet == nil {
				m.emit(CancelStep{id})
			}
		case StepChoosing, StepAsking, StepRetrying, StepAwaiting:
			m.end(id, StepState{Status: StepStatus(api.Cancelled), Try: s.Try, Error: fmt.Sprintf("the run was cancelled while it was %s", s.Status)})
		}
	}
	m.advance()
}

func (m *machine) admit() {
	if m.s.Status == Queued {
		m.s.Status = Running
		m.record(RunAdmitted, "", "others have ended")
		m.advance()
	}
}

func (m *machine) postpone(in Postpone) {
	if m.s.Status == Queued {
		m.record(RunQueued, "", "frozen: %s: it waits until %s", in.By, in.Until.UTC().Format(time.RFC3339))
		m.emit(SetAlarm{After: in.Until.Sub(m.s.Now)})
	}
}

// ids are those of all steps in order, then of their parts on agents and of what tells of their
// approvals.
func (m *machine) ids() []string {
	ids := m.d.steps()
	for _, step := range m.d.Actions {
		for _, a := range m.s.Steps[step.ID].Fleet {
			ids = append(ids, partOf(step.ID, a.ID))
		}
		if step.Approval != nil {
			ids = append(ids, m.d.tellings(step.ID)...)
		}
	}
	return ids
}
