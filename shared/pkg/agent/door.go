package agent

import (
	"path/filepath"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/delivery"
	"github.com/stavily/agents/shared/internal/execution"
	"github.com/stavily/agents/shared/internal/spool"
	"github.com/stavily/agents/shared/internal/wal"
	"github.com/stavily/agents/shared/pkg/sealed"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// ErrBroken is wrapped by an error of a spool or journal that may or may not have
// written what it was given. The agent must end (Runtime.Fail) and recover by reopening.
var ErrBroken = wal.ErrBroken

// ErrTooLarge is wrapped by an error of a journal or a spool that never takes a record of that size.
var ErrTooLarge = limits.ErrTooLarge

// What roles use of shared/internal, under one roof.
type (
	// Spool keeps events until the orchestrator has them.
	Spool = spool.Spool
	// SpoolAccount says what became of the events of a Spool.
	SpoolAccount = spool.Account
	// SpoolStats tell how a Spool is.
	SpoolStats = spool.Stats
	// Journal remembers instructions over crashes.
	Journal      = execution.Journal
	JournalEntry = execution.Entry

	// Delivery is the state of the pure machine that decides what to send and when.
	Delivery = delivery.State
	// DeliveryInput is what happens to it, DeliveryEffect what it wants done.
	DeliveryInput  = delivery.Input
	DeliveryEffect = delivery.Effect
	// The inputs.
	Appended = delivery.Appended
	Answered = delivery.Answered
	Failed   = delivery.Failed
	Elapsed  = delivery.Elapsed
	// The effects.
	Send     = delivery.Send
	Wait     = delivery.Wait
	Ack      = delivery.Ack
	SetAside = delivery.SetAside
	Renew    = delivery.Renew
)

// StepDelivery takes one transition of a Delivery.
func StepDelivery(s Delivery, in DeliveryInput) (Delivery, []DeliveryEffect) {
	return delivery.Step(s, in)
}

// Oversize is the class of a batch that something between agent and orchestrator takes none of its size of.
const Oversize = delivery.Oversize

// NotTaken is the input for a batch whose call failed; see delivery.Classify.
func (rt *Runtime) NotTaken(err error, items int, first uint64) Failed {
	class, after := delivery.Classify(err)
	return Failed{Class: class, RetryAfter: after, Items: items, First: first, Random: rt.Random()}
}

// OpenSecretsKey opens the key that secrets of this agent's instructions are sealed to, and makes
// it when there is none.
func (rt *Runtime) OpenSecretsKey() (err error) {
	rt.sealing, err = sealed.OpenKey(filepath.Join(rt.DataDir("state"), "secrets.key"))
	return err
}

// StartedDetails are the error_details of an interrupted attempt.
func StartedDetails(started bool) []byte { return execution.StartedDetails(started) }

// OpenSpool opens this agent's event spool; it is closed at the end of the agent.
func (rt *Runtime) OpenSpool() (*Spool, error) {
	s, err := spool.Open(rt.DataDir("spool"), spool.Options{MaxBytes: rt.Config().Spool.MaxBytes.Bytes(), Now: rt.now})
	if err != nil {
		return nil, err
	}
	rt.closers = append(rt.closers, s.Close)
	rt.spool.Store(s)
	if r := s.Recovery(); len(r.Lost) > 0 || len(r.Damaged) > 0 {
		rt.Health.Set("spool_damaged", Degraded, false, "part of the event spool was damaged; what is lost is reported to the orchestrator as gaps", "check the disk; the damaged files are kept beside the spool as *.bad")
		rt.Log.Error("spool damaged", "lost", r.Lost, "files", r.Damaged)
	}
	return s, nil
}

// OpenJournal opens this agent's journal of instructions; it is closed at the end of the
// agent.
func (rt *Runtime) OpenJournal() (*Journal, error) {
	j, damage, err := execution.Open(rt.DataDir("journal"), execution.Options{Now: rt.now})
	if damage != "" {
		rt.Health.Set("journal_damaged", Degraded, false, damage, "check the disk; an instruction whose record is lost is reaped by the orchestrator")
		rt.Log.Error("journal damaged", telemetry.KeyError, damage)
	}
	if err == nil {
		rt.closers = append(rt.closers, j.Close)
		rt.journal.Store(j)
	}
	return j, err
}
