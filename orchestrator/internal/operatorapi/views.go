package operatorapi

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

func viewToken(t store.Token) Token {
	status := "unused"
	switch {
	case !t.UsedAt.IsZero():
		status = "used"
	case time.Now().After(t.ExpiresAt):
		status = "expired"
	}
	return Token{
		ID: t.Hash[:12], Status: status, AgentType: t.Type, AgentID: t.AgentID,
		CreatedAt: api.At(t.CreatedAt), ExpiresAt: api.At(t.ExpiresAt), UsedAt: api.At(t.UsedAt), UsedBy: t.UsedBy, Note: t.Note,
	}
}

func viewAgent(a store.Agent) Agent {
	var assigned []api.AssignedState
	for _, p := range a.Assigned {
		assigned = append(assigned, p.AssignedState)
	}
	return Agent{
		ID: a.ID, Type: a.Type, Name: a.Name, Hostname: a.Hostname, Version: a.Version, Status: engine.StatusOf(a, time.Now()), Tags: a.Tags,
		EnrolledAt: api.At(a.EnrolledAt), LastSeen: api.At(a.LastSeen), CertificateNotAfter: api.At(a.NotAfter),
		RevokedAt: api.At(a.RevokedAt), RevokedReason: a.RevokedReason,
		Quarantine: viewQuarantine(a), Plugins: a.Plugins, Assigned: assigned, Monitors: a.Monitors, Health: a.Health, Sandbox: a.Sandbox,
	}
}

func viewQuarantine(a store.Agent) *Quarantine {
	if a.State != store.Quarantined {
		return nil
	}
	serial, keyHash := engine.Applied(a)
	return &Quarantine{Since: api.At(a.QuarantinedAt), Reason: a.QuarantineReason, Serial: serial, KeyHash: keyHash}
}

func viewWorkflow(w store.Workflow) Workflow {
	return Workflow{Name: w.Name, Version: w.Version, Digest: w.Digest, AppliedAt: api.At(w.AppliedAt), Text: w.Text}
}

func viewRun(r store.Run) Run {
	return Run{
		ID: r.ID, Workflow: r.Workflow, Version: r.Version, Status: r.Status, EventID: r.EventID, Key: r.Key, Error: r.Error, RetryOf: r.RetryOf,
		CreatedAt: api.At(r.CreatedAt), StartedAt: api.At(r.StartedAt), FinishedAt: api.At(r.FinishedAt),
	}
}

func viewStep(i instruction.Instruction) Step {
	return Step{
		Step: i.Step, Instruction: i.ID, Plugin: i.Plugin, Status: i.Status, Attempt: i.Attempt, Agent: i.Agent, Message: i.Message,
		CreatedAt: api.At(i.CreatedAt), StartedAt: api.At(i.StartedAt), FinishedAt: api.At(i.FinishedAt), Result: i.Result,
	}
}

func viewHistory(h store.History) History {
	return History{Seq: h.Seq, At: api.At(h.At), Kind: h.Kind, Step: h.Step, Message: h.Message, Data: h.Data}
}

func viewLog(l store.Log) Log {
	return Log{Cursor: l.Cursor, At: api.At(l.At), Agent: l.Agent, Instruction: l.Instruction, Level: l.Level, Plugin: l.Plugin, Message: l.Message}
}

func viewEvent(e store.Event) Event {
	return Event{Event: e.Event, Cursor: e.Cursor, Agent: e.Agent, ReceivedAt: api.At(e.ReceivedAt)}
}

func viewAudit(a store.Audit) Audit {
	return Audit{Seq: a.Seq, At: api.At(a.At), Actor: a.Actor, Action: a.Action, Object: a.Object, Detail: a.Detail}
}
