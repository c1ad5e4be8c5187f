package storetest

import (
	"encoding/json"
	"time"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// start is when all tests take place. Its nanoseconds must survive.
var start = time.Date(2026, 3, 4, 5, 6, 7, 891234567, time.UTC)

func after(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// The samples have a value in every field, so that none is forgotten by an engine;
// testRecords sees to it. note makes samples of the same key differ.

func sampleAgent(note string) store.Agent {
	return store.Agent{
		ID: "web-1", Type: api.Action, State: store.Revoked, QuarantinedAt: start, QuarantineReason: note, Name: note, Hostname: "web-1.example", Tags: []string{"role:web", "a<b&c>d"},
		Version: "1.2.3", Status: "online", KeyHash: "sha256:1", Serial: "01", CertificatePEM: "pem", NotAfter: after(1),
		NextKeyHash: "sha256:2", RetiredSerial: "00", ActivatedAt: after(4), TokensFrom: after(5), NextSerial: "02", NextCertificatePEM: "pem 2", NextNotAfter: after(2),
		EnrolledAt: start, LastSeen: after(3), Lost: true, ExpiryTold: after(5), RevokedAt: after(4), RevokedReason: "stolen",
		Plugins:  []api.PluginInfo{{ID: "disk-cleaner", Version: "1.0.0", Digest: "sha256:3", Type: "action", State: "ready", Message: "m"}},
		Monitors: []api.MonitorInfo{{Name: "root", Plugin: "disk", State: "running", Message: "m", LastRun: api.At(start)}},
		Health:   &api.Health{Status: "degraded", Conditions: []api.Condition{{Name: "spool", Status: "degraded", Since: api.At(start), Message: "m", Remedy: "r"}}},
		Sandbox:  samplePosture(),

		SecretsKey: "k1", OtherSecretsKey: "k2", TakesPackages: true, Authorities: []string{"sha256:6"}, LogStream: "e", LogLines: 7,
		Assigned: []store.PackageState{{
			AssignedState: api.AssignedState{ID: "disk-cleaner", Version: "1.0.0", Digest: "sha256:5", Attempt: 2, State: api.PackageFailed, Message: "m"},
			Since:         after(5),
		}},
	}
}

func samplePosture() *api.Posture {
	return &api.Posture{
		Level: api.SandboxFull, Achieved: []string{api.AchievedEgress}, Layers: map[string]string{"seccomp": "enforced", "cgroup": "unavailable: r"},
		Missing: map[string]string{"cgroup": "r"}, LandlockABI: 7, Kernel: "6.18.0", Memory: "watchdog",
		SelfTest: &api.SelfTest{Passed: []string{"p"}, Failed: []string{"f"}},
	}
}

func sampleSecret(note string) store.Secret {
	return store.Secret{
		Name: "token", Version: 3, Key: "0a1b", Sealed: []byte("\x00sealed " + note), CreatedAt: start, UpdatedAt: after(1), UpdatedBy: "anna", Deleted: true,
	}
}

func sampleToken(note string) store.Token {
	return store.Token{
		Hash: "ab12", Type: api.Sensor, AgentID: "web-1", CreatedAt: start, ExpiresAt: after(1),
		UsedAt: after(2), UsedBy: "web-1", KeyHash: "sha256:1", Note: note, Downloaded: []string{"ca.crt"},
	}
}

func sampleEvent(note string) store.Event {
	return store.Event{
		Event: api.Event{
			Seq: 1<<63 + 1, ID: "01EVENT", Type: "disk.space.high", Source: "disk", Monitor: "root", Timestamp: api.At(start), Severity: api.High, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			Data:     map[string]json.RawMessage{"percent": json.RawMessage(`9.50`), "note": quoted(note)},
			Metadata: map[string]json.RawMessage{"big": json.RawMessage(`12345678901234567890`)},
			Tags:     []string{"t"}, Key: "web-1:/",
		},
		Cursor: 1, Agent: "web-1", Epoch: "e1", ReceivedAt: after(1),
	}
}

func sampleEvaluation(note string) store.Evaluation {
	return store.Evaluation{Event: "01EVENT", Agent: "web-1", Workflow: "clean", Version: 3, At: start, Run: "01RUN", Shadow: true, Foreseen: "web-1", Decision: quoted(note)}
}

func sampleStream(through uint64) delivery.Stream {
	return delivery.Stream{Epoch: "e1", Through: through, Above: []delivery.Span{{From: 1 << 63, To: 1<<63 + 1}}, Tally: delivery.Tally{Stored: 1, Known: 2, Rejected: 3, Lost: 4, Renewed: 5, Before: 6}}
}

func sampleGap(reason string) store.Gap {
	return store.Gap{Gap: api.Gap{From: 1 << 63, To: 1<<63 + 1, Count: 2, Reason: reason}, Agent: "web-1", Epoch: "e1", ReceivedAt: start}
}

func sampleWorkflow(text string) store.Workflow {
	return store.Workflow{Name: "clean", Version: 1, Text: text, Digest: "sha256:4", AppliedAt: start}
}

func sampleRun(note string) store.Run {
	return store.Run{
		ID: "01RUN", Workflow: "clean", Version: 1, Status: "completed", EventID: "01EVENT", Key: "web-1", Lane: "l", Host: "h", Cancelled: true, Error: "e", RetryOf: "01OLD",
		CreatedAt: start, StartedAt: after(1), FinishedAt: after(2), Since: after(3), State: quoted(note),
	}
}

func sampleWait(note string) store.Wait {
	return store.Wait{Run: "01RUN", Step: "<clean>", Pattern: note}
}

func sampleSchedule(note string) store.Schedule {
	return store.Schedule{Workflow: "clean", Spec: "<0 3 * * *> UTC", Due: after(len(note))}
}

func sampleApproval(note string) store.Approval {
	return store.Approval{Run: "01RUN", Step: "<ok>", Workflow: "clean", Version: 3, EventID: "01EVENT", Group: "oncall", Count: 2, Since: start, Until: after(9), Asked: quoted(note)}
}

func sampleWindow(note string) store.Window {
	return store.Window{Workflow: "clean", Key: `"<web-1>"`, Closes: after(len(note)), Doc: quoted(note)}
}

func sampleAlarm(note string) store.Alarm {
	return store.Alarm{Run: "01RUN", Step: "<clean>", Try: 2, At: after(len(note))}
}

func sampleHistory(message string) store.History {
	return store.History{Run: "01RUN", Seq: 1, At: start, Kind: "step", Step: "clean", Message: message, Data: json.RawMessage(`{"a":[1,2.50]}`)}
}

func sampleLog(message string) store.Log {
	return store.Log{Cursor: 1, At: start, ReceivedAt: after(1), Agent: "web-1", Run: "01RUN", Instruction: "01INSTR", Plugin: "disk-cleaner", Level: "info", Message: message}
}

func sampleAudit(detail string) store.Audit {
	return store.Audit{Seq: 1, At: start, Actor: "operator", Action: "token.create", Object: "ab12", Detail: detail, Prev: store.NoAudit}
}

func sampleInstruction(note string) instruction.Instruction {
	percent, code := 12.5, 3
	return instruction.Instruction{
		Spec: instruction.Spec{
			ID: "01INSTR", RunID: "01RUN", Workflow: "clean", Step: "clean", Try: 4, EventID: "01EVENT", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Plugin: "disk-cleaner", Version: "^1",
			Input: map[string]json.RawMessage{"path": quoted(note)}, Timeout: time.Minute,
			Secrets: []instruction.SecretText{{Path: []string{"a", "1"}, Pieces: []instruction.SecretPiece{{Text: "<Bearer> "}, {Secret: "token", Version: 3}}}},
			Target:  instruction.Target{Agents: []api.AgentID{"web-1"}, Host: "web-1.example", Tags: []string{"role:web"}, Sandbox: api.SandboxConfined, Installs: true, Secrets: true, Version: "^1"},
			Type:    api.TypeInstall,
			Setup: api.PluginConfiguration{
				Version: "^1", Digest: "sha256:4", EntryPoint: "main.py", Arguments: []string{"-x"}, Environment: map[string]string{"A": "b"}, TimeoutSeconds: 9,
				PluginURL: "https://h/x", RepositoryURL: "https://h/x", Branch: "main", Tag: "v1", CommitHash: "0123", SubDirectory: "d",
			},
			Priority: api.PriorityHigh, Idempotent: true, MaxAttempts: 3, ExpiresAt: after(60),
		},
		Status: api.Interrupted, Attempt: 2, Agent: "web-1", Lease: "lease", BootID: "boot", LeaseUntil: after(30),
		Life: time.Hour, CreatedAt: start, OfferedAt: after(1), StartedAt: after(2), FinishedAt: after(3),
		Spent: true, LostAgent: true, CancelRequested: true, Percent: &percent, Lines: 2, Message: "m",
		Result: &api.Result{
			Status: api.Interrupted, Result: json.RawMessage(`{"n":1.0}`), ErrorMessage: "e", ErrorDetails: json.RawMessage(`{"started":true}`), ExecutionLog: []string{"l"}, LogFrom: 1,
			Attempt: 2, Lease: "lease", StartedAt: api.At(start), FinishedAt: api.At(start), DurationMS: 5, ResourceUsage: &api.ResourceUsage{CPUSeconds: 1.5, MaxRSSBytes: 6, StoredBytes: 7},
			ExitCode: &code, Plugin: &api.PluginRef{ID: "disk-cleaner", Version: "1.0.0", Digest: "sha256:3"}, Sandbox: samplePosture(),
			Network: []api.Traffic{{Destination: "a:1", Addresses: []string{"192.0.2.7"}, Connections: 1, Refused: 2, Failed: 3, Shared: 4, BytesSent: 5, BytesReceived: 6, LastError: "e"}},
		},
	}
}

func samplePackage(note string) store.Package {
	return store.Package{
		ID: "disk-cleaner", Version: "1.0.0", Kind: "action", Digest: "sha256:5", TreeDigest: "sha256:6", Size: 7,
		Manifest: "id: disk-cleaner # <" + note + ">\n", Signer: "SHA256:k me", Signature: "sig", PublishedAt: start, ApprovedAt: after(1), ApprovedBy: "operator",
	}
}

func sampleAssignment(note string) store.Assignment {
	return store.Assignment{
		Plugin: "disk-cleaner", Selector: store.OfTag("role:web"), Kind: "action", Range: "^1", AssignedAt: start,
		Plan: rollout.Plan{Settle: time.Second, Deadline: time.Minute, AtOnce: true},
		State: rollout.State{
			Phase: rollout.Stopped, Done: rollout.Release{Version: "1.0.0", Digest: "sha256:5", Attempt: 1}, Target: rollout.Release{Version: "1.1.0", Digest: "sha256:7", Attempt: 2},
			Skip: rollout.Release{Version: "1.0.9", Digest: "sha256:8", Attempt: 3}, Kept: []rollout.Kept{{Release: rollout.Release{Version: "0.9.0", Digest: "sha256:9", Attempt: 1}, Agents: []api.AgentID{"web-2"}, All: true}}, Stage: rollout.Tenth, StageAt: after(1), Agents: []api.AgentID{"web-1"}, Attempts: 4, Reason: note, Due: after(8),
		},
	}
}

func samplePublisher(note string) store.Publisher {
	return store.Publisher{Fingerprint: "SHA256:k", Line: "ssh-ed25519 AAAA " + note, TrustedAt: start}
}

// quoted is a JSON string that an engine might be tempted to escape.
func quoted(note string) json.RawMessage { return json.RawMessage(`"<` + note + `>"`) }

// everything writes one record of each kind, marked with note.
func everything(note string) func(store.Tx) error {
	return write(
		func(tx store.Tx) error { return tx.PutAgent(sampleAgent(note)) },
		func(tx store.Tx) error { return tx.PutToken(sampleToken(note)) },
		func(tx store.Tx) error { return tx.PutUser(sampleUser(note)) },
		func(tx store.Tx) error { return tx.PutCredential(sampleCredential(note)) },
		func(tx store.Tx) error { return tx.PutSecret(sampleSecret(note)) },
		func(tx store.Tx) error { return tx.AddEvent(sampleEvent(note)) },
		func(tx store.Tx) error { return tx.PutEvaluation(sampleEvaluation(note)) },
		func(tx store.Tx) error { return tx.PutStream("web-1", sampleStream(uint64(len(note)))) },
		func(tx store.Tx) error { return tx.PutGap(sampleGap(note)) },
		func(tx store.Tx) error { _, err := tx.AddWorkflow(sampleWorkflow(note)); return err },
		func(tx store.Tx) error { return tx.SetCooldown("clean", "web-1", after(len(note))) },
		func(tx store.Tx) error { return tx.PutRun(sampleRun(note)) },
		func(tx store.Tx) error { return tx.PutWait(sampleWait(note)) },
		func(tx store.Tx) error { return tx.PutSchedule(sampleSchedule(note)) },
		func(tx store.Tx) error { return tx.PutApproval(sampleApproval(note)) },
		func(tx store.Tx) error { return tx.PutWindow(sampleWindow(note)) },
		func(tx store.Tx) error { return tx.PutAlarm(sampleAlarm(note)) },
		func(tx store.Tx) error { return tx.AddHistory(sampleHistory(note)) },
		func(tx store.Tx) error { return tx.AddLogs([]store.Log{sampleLog(note)}) },
		func(tx store.Tx) error { return tx.PutInstruction(sampleInstruction(note)) },
		func(tx store.Tx) error { return tx.AddPackage(samplePackage(note)) },
		func(tx store.Tx) error { return tx.PutAssignment(sampleAssignment(note)) },
		func(tx store.Tx) error { return tx.PutPublisher(samplePublisher(note)) },
		func(tx store.Tx) error { return tx.AddAudit(sampleAudit(note)) },
	)
}

// probe is one question and what it answers once everything(note) was written.
type probe struct {
	name string
	ask  func(store.Reader) (any, error)
	want func(note string) any
}

// found adapts a query for a record, listed one for a list with one element.
func found[V any](ask func(store.Reader) (V, error)) func(store.Reader) (any, error) {
	return func(r store.Reader) (any, error) { return ask(r) }
}

func listed[V any](ask func(store.Reader) ([]V, error)) func(store.Reader) (any, error) {
	return func(r store.Reader) (any, error) {
		switch all, err := ask(r); {
		case err != nil || len(all) > 1:
			return all, err
		case len(all) == 0:
			return nil, store.ErrNotFound
		default:
			return all[0], nil
		}
	}
}

// probes ask in every way that there is.
func probes() []probe {
	agent := func(n string) any { return sampleAgent(n) }
	token := func(n string) any { return sampleToken(n) }
	user := func(n string) any { return sampleUser(n) }
	credential := func(n string) any { return sampleCredential(n) }
	event := func(n string) any { return sampleEvent(n) }
	workflow := func(n string) any { return sampleWorkflow(n) }
	run := func(n string) any { return sampleRun(n) }
	line := func(n string) any { return sampleLog(n) }
	instr := func(n string) any { return sampleInstruction(n) }
	pkg := func(n string) any { return samplePackage(n) }
	assignment := func(n string) any { return sampleAssignment(n) }
	return []probe{
		{"agent", found(func(r store.Reader) (store.Agent, error) { return r.Agent("web-1") }), agent},
		{"agents", listed(store.Reader.Agents), agent},
		{"token", found(func(r store.Reader) (store.Token, error) { return r.Token("ab12") }), token},
		{"tokens", listed(store.Reader.Tokens), token},
		{"user", found(func(r store.Reader) (store.User, error) { return r.User("ann") }), user},
		{"users", listed(store.Reader.Users), user},
		{"credential", found(func(r store.Reader) (store.Credential, error) { return r.Credential("cd34") }), credential},
		{"credentials", listed(func(r store.Reader) ([]store.Credential, error) { return r.Credentials("") }), credential},
		{"credentials of user", listed(func(r store.Reader) ([]store.Credential, error) { return r.Credentials("ann") }), credential},
		{"event", found(func(r store.Reader) (store.Event, error) { return r.Event("web-1", "01EVENT") }), event},
		{"events", listed(func(r store.Reader) ([]store.Event, error) { return r.Events(store.EventQuery{}) }), event},
		{"events with an id", listed(func(r store.Reader) ([]store.Event, error) { return r.EventsWithID("01EVENT") }), event},
		{"evaluations", listed(func(r store.Reader) ([]store.Evaluation, error) { return r.Evaluations("01EVENT") }), func(n string) any { return sampleEvaluation(n) }},
		{"evaluations in shadow", listed(func(r store.Reader) ([]store.Evaluation, error) {
			return r.Shadowed("clean", start.Add(-time.Hour), store.Evaluation{}, 0)
		}), func(n string) any { return sampleEvaluation(n) }},
		{"gaps", listed(func(r store.Reader) ([]store.Gap, error) { return r.Gaps("web-1") }), func(n string) any { return sampleGap(n) }},
		{"old gaps", listed(func(r store.Reader) ([]store.Gap, error) { return r.OldGaps(start.Add(time.Hour), store.Gap{}, 0) }), func(n string) any { return sampleGap(n) }},
		{"newest gaps", listed(func(r store.Reader) ([]store.Gap, error) { return r.NewestGaps("web-1", 0) }), func(n string) any { return sampleGap(n) }},
		{"workflow", found(func(r store.Reader) (store.Workflow, error) { return r.Workflow("clean") }), workflow},
		{"workflow version", found(func(r store.Reader) (store.Workflow, error) { return r.WorkflowVersion("clean", 1) }), workflow},
		{"workflows", listed(store.Reader.Workflows), workflow},
		{"workflow versions", listed(func(r store.Reader) ([]store.Workflow, error) { return r.WorkflowVersions("clean", 0) }), workflow},
		{"run", found(func(r store.Reader) (store.Run, error) { return r.Run("01RUN") }), run},
		{"runs", listed(func(r store.Reader) ([]store.Run, error) { return r.Runs(store.RunQuery{}) }), run},
		{"oldest runs", listed(func(r store.Reader) ([]store.Run, error) { return r.OldestRuns("", 0) }), run},
		{"history", listed(func(r store.Reader) ([]store.History, error) { return r.History("01RUN") }), func(n string) any { return sampleHistory(n) }},
		{"waits", listed(store.Reader.Waits), func(n string) any { return sampleWait(n) }},
		{"schedule", found(func(r store.Reader) (store.Schedule, error) { return r.Schedule("clean", "<0 3 * * *> UTC") }), func(n string) any { return sampleSchedule(n) }},
		{"schedules", listed(func(r store.Reader) ([]store.Schedule, error) { return r.Schedules("clean") }), func(n string) any { return sampleSchedule(n) }},
		{"due schedules", listed(func(r store.Reader) ([]store.Schedule, error) { return r.DueSchedules(after(1000), 0) }), func(n string) any { return sampleSchedule(n) }},
		{"approvals", listed(store.Reader.Approvals), func(n string) any { return sampleApproval(n) }},
		{"window", found(func(r store.Reader) (store.Window, error) { return r.Window("clean", `"<web-1>"`) }), func(n string) any { return sampleWindow(n) }},
		{"due windows", listed(func(r store.Reader) ([]store.Window, error) { return r.DueWindows(after(1000), 0) }), func(n string) any { return sampleWindow(n) }},
		{"due alarms", listed(func(r store.Reader) ([]store.Alarm, error) { return r.DueAlarms(after(1000), 0) }), func(n string) any { return sampleAlarm(n) }},
		{"logs", listed(func(r store.Reader) ([]store.Log, error) { return r.Logs(store.LogQuery{}) }), line},
		{"logs of run", listed(func(r store.Reader) ([]store.Log, error) { return r.Logs(store.LogQuery{Run: "01RUN"}) }), line},
		{"logs of instruction", listed(func(r store.Reader) ([]store.Log, error) { return r.Logs(store.LogQuery{Instruction: "01INSTR"}) }), line},
		{"instruction", found(func(r store.Reader) (instruction.Instruction, error) { return r.Instruction("01INSTR") }), instr},
		{"instructions of run", listed(func(r store.Reader) ([]instruction.Instruction, error) { return r.RunInstructions("01RUN") }), instr},
		{"package", found(func(r store.Reader) (store.Package, error) { return r.Package("disk-cleaner", "1.0.0") }), pkg},
		{"packages", listed(func(r store.Reader) ([]store.Package, error) { return r.Packages("") }), pkg},
		{"packages of plugin", listed(func(r store.Reader) ([]store.Package, error) { return r.Packages("disk-cleaner") }), pkg},
		{"assignment", found(func(r store.Reader) (store.Assignment, error) { return r.Assignment("disk-cleaner", "tag:role:web") }), assignment},
		{"assignments", listed(store.Reader.Assignments), assignment},
		{"due assignments", listed(func(r store.Reader) ([]store.Assignment, error) { return r.DueAssignments(after(8)) }), assignment},
		{"secret", found(func(r store.Reader) (store.Secret, error) { return r.Secret("token") }), func(n string) any { return sampleSecret(n) }},
		{"secrets", listed(store.Reader.Secrets), func(n string) any { return sampleSecret(n) }},
		{"publishers", listed(store.Reader.Publishers), func(n string) any { return samplePublisher(n) }},
		{"audit", listed(func(r store.Reader) ([]store.Audit, error) { return r.Audit(0, 0) }), func(n string) any { return sampleAudit(n) }},
		{"stream", found(askStream), func(n string) any { return sampleStream(uint64(len(n))) }},
		{"cooldown", found(askCooldown), func(n string) any { return after(len(n)) }},
	}
}

// askStream and askCooldown make absence ErrNotFound, as it is for records.
func askStream(r store.Reader) (delivery.Stream, error) {
	s, err := r.Stream("web-1", "e1")
	if err == nil && s.Through == 0 && len(s.Above) == 0 {
		err = store.ErrNotFound
	}
	return s, err
}

func askCooldown(r store.Reader) (time.Time, error) {
	until, some, err := r.CooldownUntil("clean", "web-1")
	if err == nil && !some {
		err = store.ErrNotFound
	}
	return until, err
}
