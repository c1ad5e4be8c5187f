package store

import (
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// What callers branch on, with errors.Is.
var (
	ErrNotFound       = errors.New("not found")
	ErrExists         = errors.New("exists already")
	ErrFull           = errors.New("no space is left for the database: free some; what waits is tried again")
	ErrUnavailable    = errors.New("the database cannot be reached: see that it runs; what waits is tried again")
	ErrUnknownOutcome = errors.New("the outcome of a commit is unknown: restart to recover")
	ErrClosed         = errors.New("the store is closed")
)

// Store holds all organisations. It is safe for concurrent use.
type Store interface {
	// Org gives the part of one organisation. It reads nothing and cannot fail.
	Org(api.OrgID) Scope
	// Orgs lists the organisations that have anything, in order.
	Orgs(context.Context) ([]api.OrgID, error)
	// Close waits for what runs; what waits to run gets ErrClosed.
	Close() error
}

// Shared is a store that several servers may use at a time.
type Shared interface {
	Store
	// Follow calls f for what the other servers tell, until ctx is done or the store is
	// closed. f must not block.
	Follow(ctx context.Context, f func(Notice))
	// Lead reports whether this server is the one that does what one must do, and keeps or
	// takes that office for [LeaseLife]. Another may have taken it meanwhile, so what a leader
	// does must be harmless twice.
	Lead(context.Context) (bool, error)
	// Lock waits until no other server has the lock of that name; a server that stands still
	// loses it after a minute.
	Lock(ctx context.Context, name string) (unlock func(), err error)
	// Remember keeps the first value that any server gives under a name, and returns it.
	Remember(ctx context.Context, name, value string) (string, error)
}

// LeaseLife is how long a leader that has vanished is waited for. Ask again at a third.
const LeaseLife = 15 * time.Second

// Notice is what another server told with a commit of an organisation. Without an
// organisation it says that some were not heard, and if it is deaf that none will be until
// the next; without a text, that it was too long.
type Notice struct {
	Org  api.OrgID
	Text []byte
	Deaf bool
}

// Scope is everything of one organisation.
type Scope interface {
	// Update runs fn in one transaction and returns once that is durable. An error of fn
	// rolls it back and is returned as it is; a panic rolls it back and goes on in the
	// caller. When ctx ends before fn began, fn is not run; once begun, it is completed.
	Update(ctx context.Context, fn func(Tx) error) error
	// View runs fn on one consistent state. ctx also ends its queries.
	View(ctx context.Context, fn func(Reader) error) error
}

// Reader reads; it is of use only inside the function that it was given to, and not
// concurrently. A record that is asked for by its key and is not there is ErrNotFound.
type Reader interface {
	AgentReader
	EventReader
	WorkflowReader
	RunReader
	InstructionReader
	PackageReader
	AccountReader
	SecretReader
	// Audit lists records with a higher Seq, oldest first, at most PageSize(limit).
	Audit(after int64, limit int) ([]Audit, error)
	// AuditBefore lists records with a lower Seq, or of all where that is 0, newest first.
	AuditBefore(before int64, limit int) ([]Audit, error)
}

// AgentReader reads agents and their tokens.
type AgentReader interface {
	Agent(api.AgentID) (Agent, error)
	Agents() ([]Agent, error) // by id
	Token(hash string) (Token, error)
	Tokens() ([]Token, error) // newest first
}

// EventReader reads events and what is known of their streams.
type EventReader interface {
	// Stream is the zero stream with its epoch when nothing has come of it yet.
	Stream(agent api.AgentID, epoch string) (delivery.Stream, error)
	// Event looks an event up by the agent that sent it and the id that this agent gave
	// it: no agent can take an id away from another.
	Event(api.AgentID, api.EventID) (Event, error)
	Events(EventQuery) ([]Event, error)
	// EventsWithID lists the events that agents gave this id, by agent: mostly one.
	EventsWithID(api.EventID) ([]Event, error)
	// Evaluations lists what workflows made of the events with this id, by agent and then
	// by workflow.
	Evaluations(api.EventID) ([]Evaluation, error)
	// Shadowed lists the evaluations of a workflow in mode shadow from a time on, the newest
	// first, after before unless that is the zero one, at most PageSize(limit).
	Shadowed(workflow string, from time.Time, before Evaluation, limit int) ([]Evaluation, error)
	// ForeseenFrom counts the runs that a workflow would have started in mode shadow from a time
	// on, at most limit; ForeseenOfKey lists the evaluations of those of a key, the newest first.
	ForeseenFrom(workflow string, from time.Time, limit int) (int, error)
	ForeseenOfKey(workflow, key string, from time.Time, limit int) ([]Evaluation, error)
	Gaps(api.AgentID) ([]Gap, error) // all of them, oldest first
	// NewestGaps lists the newest of an agent, the newest first, at most PageSize(limit).
	NewestGaps(agent api.AgentID, limit int) ([]Gap, error)
	// OldGaps lists those of all agents that were received before a time, by agent, epoch and
	// number, behind the one that after has of these, at most PageSize(limit).
	OldGaps(received time.Time, after Gap, limit int) ([]Gap, error)
}

// WorkflowReader reads workflows. The current version is the highest; a deleted
// workflow has none until it is added again.
type WorkflowReader interface {
	Workflow(name string) (Workflow, error) // current
	WorkflowVersion(name string, version int) (Workflow, error)
	Workflows() ([]Workflow, error) // current ones, by name
	// WorkflowVersions lists all versions of a name, the newest first, at most
	// PageSize(limit); also of one that was deleted.
	WorkflowVersions(name string, limit int) ([]Workflow, error)
	// CooldownUntil is when the cooldown of a key ends; false when there is none.
	CooldownUntil(workflow, key string) (time.Time, bool, error)
}

// RunReader reads runs and what was logged in them.
type RunReader interface {
	Run(api.RunID) (Run, error)
	Runs(RunQuery) ([]Run, error)
	// OldestRuns lists runs that have finished, the oldest first, with a higher id.
	OldestRuns(after api.RunID, limit int) ([]Run, error)
	// RunMarks lists runs by what is beside their documents, which costs a fraction: those of a
	// workflow, or of all where it is empty, the newest first, at most PageSize(limit).
	RunMarks(workflow string, limit int) ([]RunMark, error)
	// RunActive reports whether a run of the workflow with this key goes on or is queued: its outputs
	// are not waited for.
	RunActive(workflow, key string) (bool, error)
	// RunsFrom counts the runs of a workflow from an id on, at most limit.
	RunsFrom(workflow string, from api.RunID, limit int) (int, error)
	// RunsOfKeyFrom counts those of a key by status, of the newest limit.
	RunsOfKeyFrom(workflow, key string, from api.RunID, limit int) (map[string]int, error)
	// RunsOfLane lists those of a lane that have the status running or queued, by id.
	RunsOfLane(workflow, lane, status string, limit int) ([]api.RunID, error)
	// HostsWorkedOn lists the hosts of the runs of a workflow that are running, each once.
	HostsWorkedOn(workflow string) ([]string, error)
	Waits() ([]Wait, error) // by run and step
	Schedule(workflow, spec string) (Schedule, error)
	Schedules(workflow string) ([]Schedule, error) // by spec
	// DueSchedules lists those whose time has come, the longest overdue first; NextSchedule is
	// when one has next, false when there is none.
	DueSchedules(now time.Time, limit int) ([]Schedule, error)
	NextSchedule() (time.Time, bool, error)
	Approvals() ([]Approval, error) // that are needed, by run and step
	Window(workflow, key string) (Window, error)
	// WindowsOpen counts the windows of a workflow, at most limit.
	WindowsOpen(workflow string, limit int) (int, error)
	// DueWindows lists those whose time is over, the longest overdue first; NextWindow is when
	// one closes next, false when there is none.
	DueWindows(now time.Time, limit int) ([]Window, error)
	NextWindow() (time.Time, bool, error)
	// DueAlarms lists those of a time that has come, the longest overdue first; NextAlarm is
	// when it has something next, false when there is none.
	DueAlarms(now time.Time, limit int) ([]Alarm, error)
	NextAlarm() (time.Time, bool, error)
	History(api.RunID) ([]History, error) // by Seq
	Logs(LogQuery) ([]Log, error)
}

// InstructionReader reads instructions.
type InstructionReader interface {
	Instruction(api.InstructionID) (instruction.Instruction, error)
	RunInstructions(api.RunID) ([]instruction.Instruction, error) // by id
	// Offerable lists what is pending, has not expired, and what the agent can take (see
	// Agent.CanTake). The highest priority comes first, then the lowest id, the oldest.
	Offerable(agent Agent, now time.Time, limit int) ([]api.InstructionID, error)
	// Held counts those that an agent was offered or runs.
	Held(api.AgentID) (int, error)
	// Open lists all that have not ended, by when a Tick would change them.
	Open() ([]instruction.Instruction, error)
	// Due lists those that a Tick at now would change, the longest overdue first.
	Due(now time.Time, limit int) ([]instruction.Instruction, error)
	// NextDue is when Due has something next; false when nothing waits or runs.
	NextDue() (time.Time, bool, error)
}

// PackageReader reads what is published and who is to have it.
type PackageReader interface {
	Package(id api.PluginID, version string) (Package, error)
	// Packages lists those of one plugin, or of all where it is empty, by id, the one that
	// was published last first.
	Packages(api.PluginID) ([]Package, error)
	// HasFile reports whether a package has this digest.
	HasFile(digest string) (bool, error)
	Assignment(api.PluginID, Selector) (Assignment, error)
	Assignments() ([]Assignment, error) // by plugin and selector
	// DueAssignments lists those that a look at now would change, the longest overdue first.
	DueAssignments(now time.Time) ([]Assignment, error)
	// NextDueAssignment is when there is next one; false when there will be none by time.
	NextDueAssignment() (time.Time, bool, error)
	Publishers() ([]Publisher, error) // by fingerprint
}

// SecretReader reads secrets, which are sealed.
type SecretReader interface {
	Secret(name string) (Secret, error)
	Secrets() ([]Secret, error) // by name, deleted ones too
}

// Tx reads and writes in one transaction; what it wrote it reads back. Put… adds the
// record or replaces the one with the same key. Add… is ErrExists when the key is
// taken, and then the transaction can go on.
type Tx interface {
	Reader
	AccountWriter
	Dropper

	// Others reports whether what this process remembers of the organisation may be out of
	// date: another server wrote since its last Update, or that Update was undone.
	Others() bool
	// Tell gives the other servers a notice, with the commit of this transaction.
	Tell([]byte) error
	// Awaited reports whether another Update of this process waits for this one to end: to begin,
	// or to be durable together with it.
	Awaited() bool

	PutAgent(Agent) error
	PutToken(Token) error

	PutStream(api.AgentID, delivery.Stream) error
	AddEvent(Event) error
	PutEvaluation(Evaluation) error
	PutGap(Gap) error // its key is where it begins in its stream

	// AddWorkflow adds a text as the current version and returns its number: one above
	// the highest that the name ever had, deleted or not. Version of the record is not read.
	AddWorkflow(Workflow) (version int, err error)
	// DeleteWorkflow leaves its versions for the runs that began with them. It is
	// ErrNotFound when there is no current one.
	DeleteWorkflow(name string) error
	SetCooldown(workflow, key string, until time.Time) error
	// DropCooldowns drops those that have ended by a time, at most limit, the oldest first.
	DropCooldowns(by time.Time, limit int) error

	PutRun(Run) error
	PutWait(Wait) error
	DropWait(Wait) error // one that is not there is dropped already
	PutSchedule(Schedule) error
	DropSchedule(Schedule) error // one that is not there is dropped already
	PutApproval(Approval) error
	DropApproval(run api.RunID, step string) error // one that is not there is dropped already
	PutWindow(Window) error
	DropWindow(Window) error // one that is not there is dropped already
	PutAlarm(Alarm) error
	DropAlarm(Alarm) error       // one that is not there is dropped already
	AddHistory(...History) error // of one run
	AddLogs([]Log) error

	PutInstruction(instruction.Instruction) error

	AddPackage(Package) error
	PutPackage(Package) error
	// The Delete… of what is not there are ErrNotFound.
	DeletePackage(id api.PluginID, version string) error
	// PutAssignment makes it due when its state says.
	PutAssignment(Assignment) error
	DeleteAssignment(api.PluginID, Selector) error
	// HastenAssignments makes those of a plugin due at a time at the latest, of those that
	// are due at some time.
	HastenAssignments(plugin api.PluginID, at time.Time) error
	PutPublisher(Publisher) error
	DeletePublisher(fingerprint string) error

	PutSecret(Secret) error

	AddAudit(Audit) error
}
