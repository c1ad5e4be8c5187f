package workflow

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// stateFormat is the version of State's JSON. A change that an older reader would
// misread gets a new number.
const stateFormat = 1

// Status is where a run stands.
type Status string

// The states of a run. All but Queued and Running are final.
const (
	Queued    Status = "queued" // it waits for others to end
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	Escalated Status = "escalated" // it has done nothing: people are told instead

	// ApprovalNeeded is no status of a run, but outputs can be for it.
	ApprovalNeeded Status = "approval_needed"
)

// StepStatus is where a step stands: one of the constants below, or the terminal
// status of its instruction (completed, failed, timeout, cancelled, interrupted,
// expired, rejected).
type StepStatus string

// The states of a step that are not those of its instruction.
const (
	StepWaiting    StepStatus = "waiting"    // for its needs; an output: for the run to end
	StepDispatched StepStatus = "dispatched" // handed to the engine
	StepRunning    StepStatus = "running"    // an agent has claimed it
	StepChoosing   StepStatus = "choosing"   // it waits for the agents that it is to run on
	StepAsking     StepStatus = "asking"     // it waits for people
	StepRetrying   StepStatus = "retrying"   // a try has failed, and the next waits for its time
	StepAwaiting   StepStatus = "awaiting"   // it waits for an event
	StepSkipped    StepStatus = "skipped"    // it will not run; Error says why
)

// Ended reports whether s is final.
func (s StepStatus) Ended() bool {
	return s == StepSkipped || api.InstructionStatus(s).Terminal()
}

// State is all that a run needs to go on, as a value: [Step] never changes the one
// it is given. It is stored as JSON and means the same after a round trip.
type State struct {
	Format    int                  `json:"format"`
	Run       api.RunID            `json:"run"`
	Workflow  string               `json:"workflow"`
	Digest    string               `json:"digest"` // of the definition that the run is pinned to
	Event     Event                `json:"event"`
	Events    []Event              `json:"events,omitempty"` // that made one, where there are several
	Depth     int                  `json:"depth,omitempty"`  // the largest of all events that made one
	By        []string             `json:"by,omitempty"`     // who started by hand what led to those before the last
	Status    Status               `json:"status"`
	Error     string               `json:"error,omitempty"` // the first step's that failed
	Cancelled bool                 `json:"cancelled,omitempty"`
	Done      bool                 `json:"done"` // every step has ended, outputs too: nothing follows
	Steps     map[string]StepState `json:"steps"`

	Now time.Time `json:"-"` // of the input that comes; zero: when the workflow decided
}

// Saved is what a run's record keeps of it.
type Saved struct {
	History int   `json:"history"` // how many lines of history there are
	State   State `json:"state"`
}

// StepState is where one step of a run stands.
type StepState struct {
	Status StepStatus `json:"status"`
	Try    int        `json:"try,omitempty"` // from 0; while it is retrying, the one to come
	// Satisfied says that what needs this step may run: it completed, or its own
	// `when` was false.
	Satisfied bool            `json:"satisfied,omitempty"`
	Digest    string          `json:"digest,omitempty"` // of what is to be approved, or was
	Votes     []string        `json:"votes,omitempty"`  // who has approved it
	Fleet     []Agent         `json:"fleet,omitempty"`  // where it runs on each of them; its parts are steps of their own
	Error     string          `json:"error,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"` // kept only where an expression reads it
}

// Input is something that happened to a run: [StepStarted], [StepEnded], [EventCame],
// [Alarm], [Chosen], [Verdict], [Admit], [Postpone] or [Cancel]. Try is that of the [Dispatch] or [SetAlarm] that it answers.
type Input interface{ input() }

// StepStarted says that an agent has claimed a step, action or output.
type StepStarted struct {
	Step string
	Try  int
}

// StepEnded says how one try of a step, action or output, ended for good: no further
// attempt at its instruction follows. Status is terminal.
type StepEnded struct {
	Step   string
	Try    int
	Status api.InstructionStatus
	Result json.RawMessage
	Error  string
}

// EventCame offers an event to a step that waits for one. It need not be the one.
type EventCame struct {
	Step  string
	Event Event
}

// Alarm says that the time has come that a SetAlarm asked for.
type Alarm struct {
	Step string
	Try  int
}

// Chosen answers a [Choose] with the agents, in an order that does not change, or with why they
// cannot be told.
type Chosen struct {
	Step   string
	Agents []Agent
	Error  string
}

// Verdict is what one person says to an [Ask].
type Verdict struct {
	Step    string
	Digest  string // of what they were shown
	By      string
	Groups  []string // that By is in
	Approve bool
	Reason  string
}

// Admit lets a run begin that was queued.
type Admit struct{}

// Postpone has a run that is queued wait for the end of a freeze, of which an [Alarm] without a
// step is to tell the engine: what begins then is the engine's to say, since others wait as well.
type Postpone struct {
	Until time.Time
	By    string // the freeze
}

// Cancel asks for the end of a run. Reason is shown to people.
type Cancel struct{ Reason string }

func (StepStarted) input() {}
func (StepEnded) input()   {}
func (EventCame) input()   {}
func (Alarm) input()       {}
func (Chosen) input()      {}
func (Verdict) input()     {}
func (Admit) input()       {}
func (Postpone) input()    {}
func (Cancel) input()      {}

// Effect is something for the engine to do, in the transaction that stores the
// new state: [Dispatch], [Choose], [Ask], [StopAsking], [Await], [StopWaiting], [SetAlarm], [CancelStep], [Record] or
// [Finished].
type Effect interface{ effect() }

// Dispatch asks for an instruction. There is one per try of a step of a run at most.
type Dispatch struct {
	Step       string
	Try        int
	Plugin     api.PluginID
	Version    string // range, as written; empty for any
	Input      map[string]json.RawMessage
	Secrets    []instruction.SecretText // that the agent puts into the input
	Timeout    time.Duration
	Target     Target
	Pick       *Selector        // of the agents of which one runs it; nil: Target says it
	Sandbox    api.SandboxLevel // the least that it accepts; empty for any
	Idempotent bool
	Type       string                  // one of api's; empty is to execute
	Setup      api.PluginConfiguration // without the version
	Install    bool                    // assign the plugin where no agent that may run it has it
	Wait       time.Duration           // for an agent; 0 for as long as instructions wait
	Output     bool                    // an output plugin's, not an action's
	Undo       bool                    // it takes back what another has done
	Undoes     string                  // the step whose agent runs it, whatever Target says; empty: Target says it
}

// Choose asks for the action agents that a selector picks, in a [Chosen].
type Choose struct {
	Step     string
	Selector *Selector
}

// Ask asks people for a [Verdict], until a [StopAsking].
type Ask struct {
	Step   string
	Asked  Asked
	Group  string // of people who decide; empty: all who may
	Count  int
	Within time.Duration
}

// StopAsking ends an Ask.
type StopAsking struct{ Step string }

// Await asks for an [EventCame] for each event of a type that fits Pattern, until a
// [StopWaiting].
type Await struct {
	Step    string
	Pattern string
}

// StopWaiting ends an Await.
type StopWaiting struct{ Step string }

// SetAlarm asks for an [Alarm] after a time. A run that was cancelled does not need it any
// more.
type SetAlarm struct {
	Step  string
	Try   int
	After time.Duration
}

// CancelStep asks that a dispatched step be cancelled. The step still ends with a
// StepEnded, whatever its status.
type CancelStep struct{ Step string }

// Record is a line of the run's history.
type Record struct {
	Kind    RecordKind
	Step    string // empty when it is about the run
	Message string
}

// RecordKind is what a line of history is about.
type RecordKind string

// The kinds of history lines.
const (
	RunStarted      RecordKind = "run_started"
	RunQueued       RecordKind = "run_queued" // others go on
	RunAdmitted     RecordKind = "run_admitted"
	EventsMet       RecordKind = "run_events" // that made one
	CancelRequested RecordKind = "cancel_requested"
	StepSent        RecordKind = "step_dispatched"
	StepChose       RecordKind = "step_agents"   // that it runs on
	StepAsks        RecordKind = "step_asks"     // for approvals
	StepApproved    RecordKind = "step_approved" // by one person
	StepClaimed     RecordKind = "step_started"
	StepWaits       RecordKind = "step_waits"      // for an event
	StepCame        RecordKind = "step_event"      // the event that it waited for
	StepAgain       RecordKind = "step_retry"      // another try follows
	StepOver        RecordKind = "step_ended"      // skipped ones too
	ResultLeftOut   RecordKind = "result_left_out" // no expression can read it
	RunEnded        RecordKind = "run_ended"       // its status is final, outputs follow
	RunFinished     RecordKind = "run_finished"
	RunAbandoned    RecordKind = "run_abandoned" // by the engine, which could not take it on; the state stays as it was
)

// Finished says that nothing follows: the status was final before, and the outputs
// have ended too.
type Finished struct{ Status Status }

func (Dispatch) effect()    {}
func (Choose) effect()      {}
func (Ask) effect()         {}
func (StopAsking) effect()  {}
func (Await) effect()       {}
func (StopWaiting) effect() {}
func (SetAlarm) effect()    {}
func (CancelStep) effect()  {}
func (Record) effect()      {}
func (Finished) effect()    {}

// fits reports whether a state belongs to a definition.
func (s State) fits(d *Definition) error {
	if s.Format != stateFormat {
		return fmt.Errorf("run %s: its state has format %d, this version of Stavily reads %d", s.Run, s.Format, stateFormat)
	}
	if s.Digest != d.digest {
		return fmt.Errorf("run %s of workflow %s: it is pinned to the text %s and was given %s", s.Run, s.Workflow, s.Digest, d.digest)
	}
	return nil
}
