package agentapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

const cleanWhenFull = `
name: clean-when-full
triggers:
  - event: disk.space.high
when: event.data.percent >= 90
actions:
  - id: clean
    plugin: disk-cleaner
    agents: {same_host: true}
    with: {path: "${{ event.data.mount }}"}
outputs:
  - id: tell
    plugin: webhook
    "on": [completed, failed]
    with: {text: "freed ${{ steps.clean.result.freed_bytes }} on ${{ event.agent.id }}: ${{ run.status }}"}
`

// full is a batch of one event that a disk is full.
func full(seq uint64, id api.EventID, percent string) api.EventBatch {
	return api.EventBatch{Stream: api.Stream{Epoch: "0123456789abcdef0123456789abcdef"}, Events: []api.Event{{
		Seq: seq, ID: id, Type: "disk.space.high", Severity: api.High, Timestamp: api.At(time.Now()),
		Data: map[string]json.RawMessage{"percent": json.RawMessage(percent), "mount": json.RawMessage(`"/var"`)},
	}}}
}

// send hands in a batch and checks the outcome of its only event.
func send(t *testing.T, sensor *servertest.Agent, b api.EventBatch, want string) {
	t.Helper()
	answer, err := sensor.Events(t.Context(), b)
	if err != nil || len(answer.Events) != 1 || answer.Events[0].Status != want || answer.AckedThrough != b.Events[0].Seq {
		t.Fatalf("events = %+v, %v, want %s and %d acknowledged", answer, err, want, b.Events[0].Seq)
	}
}

// take polls until it is offered an instruction.
func take(t *testing.T, agent *servertest.Agent) api.Instruction {
	t.Helper()
	answer, err := agent.Poll(t.Context(), 10*time.Second, 1)
	if err != nil || len(answer.Offers()) != 1 {
		t.Fatalf("poll = %+v, %v, want one offer", answer, err)
	}
	return answer.Offers()[0]
}

// do claims an instruction and completes it with a result.
func do(t *testing.T, agent *servertest.Agent, i api.Instruction, result string) {
	t.Helper()
	claim := api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}
	for range 2 { // the second is a repeat after a lost answer
		if _, err := agent.Progress(t.Context(), i.ID, claim); err != nil {
			t.Fatalf("claim: %v", err)
		}
	}
	for range 2 {
		_, err := agent.Result(t.Context(), i.ID, api.Result{
			Status: api.Completed, Attempt: i.Attempt, Lease: i.Lease, Result: json.RawMessage(result), ExecutionLog: []string{"did it"},
		})
		if err != nil {
			t.Fatalf("result: %v", err)
		}
	}
}

// TestTheWholePath goes from an event to the output that tells people.
func TestTheWholePath(t *testing.T) {
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Apply(cleanWhenFull)

	send(t, sensor, full(1, "01J00000000000000000000001", "50"), api.EventAccepted) // not full enough
	send(t, sensor, full(2, "01J00000000000000000000002", "95"), api.EventAccepted)
	send(t, sensor, full(2, "01J00000000000000000000002", "95"), api.EventDuplicate)

	clean := take(t, action)
	if clean.PluginID != "disk-cleaner" || string(clean.InputData["path"]) != `"/var"` || clean.Attempt != 1 || clean.Context.EventID != "01J00000000000000000000002" {
		t.Errorf("offered %+v", clean)
	}
	do(t, action, clean, `{"freed_bytes": 42}`)
	tell := take(t, action)
	if got, want := string(tell.InputData["text"]), `"freed 42 on sensor-1: completed"`; tell.PluginID != "webhook" || got != want {
		t.Errorf("output %s %s, want webhook %s", tell.PluginID, got, want)
	}
	do(t, action, tell, `{}`)

	runs := s.Runs()
	if len(runs) != 1 || runs[0].Status != "completed" || runs[0].FinishedAt.IsZero() {
		t.Fatalf("runs = %+v, want one, completed", runs)
	}
	run := s.Run(runs[0].ID)
	for n, h := range run.History {
		if h.Seq != n+1 {
			t.Errorf("history row %d has number %d", n, h.Seq)
		}
	}
	if len(run.Steps) != 2 || len(run.History) < 6 {
		t.Errorf("%d steps, %d rows of history: %+v", len(run.Steps), len(run.History), run)
	}
	var lines []string
	err := s.Operator.Follow(t.Context(), "/api/v1/runs/"+string(run.ID)+"/logs", nil, func(line json.RawMessage) error {
		lines = append(lines, string(line))
		return nil
	})
	if err != nil || len(lines) != 2 || !strings.Contains(lines[0], "did it") {
		t.Errorf("logs = %q, %v, want one line of each instruction", lines, err)
	}
}

// TestWaitingPollIsWoken holds that work reaches a waiting agent by its commit, and
// not by a timer.
func TestWaitingPollIsWoken(t *testing.T) {
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Enrol(api.Action, "action-2", "host-b")
	s.Apply(cleanWhenFull)
	type offer struct {
		i   api.Instruction
		err error
		at  time.Time
	}
	offers := make(chan offer, 1)
	go func() {
		answer, err := action.Poll(t.Context(), 30*time.Second, 1)
		o := offer{err: err, at: time.Now()}
		if len(answer.Offers()) > 0 {
			o.i = answer.Offers()[0]
		}
		offers <- o
	}()
	time.Sleep(200 * time.Millisecond) // lets the poll wait; were it late, it would find the work at once
	sent := time.Now()
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventAccepted)
	o := <-offers
	if took := o.at.Sub(sent); o.err != nil || o.i.PluginID != "disk-cleaner" || took > time.Second {
		t.Errorf("offered %v, %v after %s, want the work at once", o.i.PluginID, o.err, took)
	}
}

func TestOnlyTheRightAgentIsOffered(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "host-a")
	right, wrong := s.Enrol(api.Action, "action-1", "HOST-A"), s.Enrol(api.Action, "action-2", "host-b")
	s.Apply(cleanWhenFull)
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventAccepted)
	if answer, err := wrong.Poll(t.Context(), 0, 1); err != nil || len(answer.Offers()) != 0 {
		t.Errorf("the agent of another host was offered %+v, %v", answer, err)
	}
	clean := take(t, right)
	for what, err := range map[string]error{
		"claim":  second(wrong.Progress(t.Context(), clean.ID, api.Progress{Status: api.Executing, Attempt: 1, Lease: clean.Lease})),
		"result": second(wrong.Result(t.Context(), clean.ID, api.Result{Status: api.Completed, Attempt: 1, Lease: clean.Lease})),
		"logs":   second(wrong.Logs(t.Context(), api.LogBatch{Logs: []api.LogEntry{{InstructionID: clean.ID, Message: "x"}}})),
	} {
		if api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("%s of another's instruction: %v, want not_found", what, err)
		}
	}
	if _, err := right.Progress(t.Context(), clean.ID, api.Progress{Status: api.Executing, Attempt: 1, Lease: "stale"}); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("claim with a stale lease: %v, want conflict", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestPlainPoller is a client that knows nothing of waits, leases and attempts.
func TestPlainPoller(t *testing.T) {
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Apply(cleanWhenFull)
	client := s.HTTP(action)
	defer client.CloseIdleConnections()
	plain := func(method, path, body string) map[string]any {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/agents/v1/action-1/instructions"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s %v, %v", method, path, resp.Status, answer, err)
		}
		return answer
	}
	idle := plain("GET", "", "")
	if idle["instruction"] != nil || idle["status"] != "no_pending_instructions" || idle["next_poll_interval"] != 10.0 {
		t.Errorf("an idle poll = %v", idle)
	}
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventAccepted)
	busy := plain("GET", "", "")
	offered, _ := busy["instruction"].(map[string]any)
	if offered == nil || busy["status"] != "instruction_delivered" || busy["next_poll_interval"] != 5.0 || busy["instructions"] != nil {
		t.Fatalf("a busy poll = %v", busy)
	}
	path := "/" + offered["id"].(string)
	if got := plain("PUT", path, `{"status": "executing", "execution_log": ["begins"]}`); got["success"] != true {
		t.Errorf("claim = %v", got)
	}
	if got := plain("PUT", path, `{"status": "executing", "execution_log": ["goes on"]}`); got["success"] != true || got["cancel"] != false {
		t.Errorf("progress = %v", got)
	}
	if got := plain("POST", path+"/result", `{"status": "completed", "result": {"freed_bytes": 1}}`); got["acknowledged"] != true {
		t.Errorf("result = %v", got)
	}
	if status := s.Run(s.Runs()[0].ID).Steps[0].Status; status != api.Completed {
		t.Errorf("the step is %s, want completed", status)
	}
}

// TestRevocationEndsAnOpenPoll holds the figure: within a second, on the connection
// that is open.
func TestRevocationEndsAnOpenPoll(t *testing.T) {
	s := servertest.Start(t)
	action := s.Enrol(api.Action, "action-1", "host-a")
	ended := make(chan error, 1)
	go func() {
		_, err := action.Poll(t.Context(), 30*time.Second, 1)
		ended <- err
	}()
	time.Sleep(200 * time.Millisecond) // lets the poll wait; were it late, it would be refused all the same
	revoked := time.Now()
	s.Do(http.MethodPost, "/api/v1/agents/action-1/revoke", operatorapi.RevokeRequest{Reason: "test"}, nil)
	err := <-ended
	if took := time.Since(revoked); api.CodeOf(err) != api.CodeRevoked || took > time.Second {
		t.Errorf("the open poll ended with %v after %s, want agent_revoked within a second", err, took)
	}
	if _, err := action.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); api.CodeOf(err) != api.CodeRevoked {
		t.Errorf("the next request: %v, want agent_revoked", err)
	}
	enrols(t, s, "enrolling it again with any token", s.Token(api.Action, ""), "action-1", newKey(t), api.CodeConflict)
	again := s.Enrol(api.Action, "action-1", "host-a") // with a token for its id
	if _, err := again.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Errorf("enrolled again: %v", err)
	}
}

// TestRestartLosesNothing restarts the server between all steps of a run.
func TestRestartLosesNothing(t *testing.T) {
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Apply(cleanWhenFull)
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventAccepted)
	s.Restart()
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventDuplicate)
	clean := take(t, action)
	s.Restart()
	claim := api.Progress{Status: api.Executing, Attempt: clean.Attempt, Lease: clean.Lease, BootID: "boot"}
	if _, err := action.Progress(t.Context(), clean.ID, claim); err != nil {
		t.Fatalf("claim of what was offered before the restart: %v", err)
	}
	s.Restart()
	do(t, action, clean, `{"freed_bytes": 42}`)
	s.Restart()
	do(t, action, take(t, action), `{}`)
	if runs := s.Runs(); len(runs) != 1 || runs[0].Status != "completed" {
		t.Errorf("runs = %+v, want one, completed", runs)
	}
}

// TestRestartEndsAnOpenPoll holds that a stopping server does not wait for polls and
// tells agents to come back soon.
func TestRestartEndsAnOpenPoll(t *testing.T) {
	s := servertest.Start(t)
	action := s.Enrol(api.Action, "action-1", "host-a")
	ended := make(chan error, 1)
	go func() {
		_, err := action.Poll(t.Context(), 30*time.Second, 1)
		ended <- err
	}()
	time.Sleep(200 * time.Millisecond)
	begin := time.Now()
	s.Restart()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the restart took %s: it waited for the poll", took)
	}
	if err := <-ended; api.CodeOf(err) != api.CodeUnavailable || api.RetryAfter(err) != time.Second {
		t.Errorf("the open poll ended with %v, want unavailable and 1 s", err)
	}
}

func TestCancel(t *testing.T) {
	s := servertest.Start(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Apply(cleanWhenFull)
	send(t, sensor, full(1, "01J00000000000000000000001", "95"), api.EventAccepted)
	i := take(t, action)
	progress := api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}
	if answer, err := action.Progress(t.Context(), i.ID, progress); err != nil || answer.Cancel {
		t.Fatalf("claim = %+v, %v", answer, err)
	}
	run := s.Runs()[0].ID
	s.Do(http.MethodPost, "/api/v1/runs/"+string(run)+"/cancel", nil, nil)
	if answer, err := action.Progress(t.Context(), i.ID, progress); err != nil || !answer.Cancel {
		t.Fatalf("progress after the cancellation = %+v, %v, want cancel", answer, err)
	}
	if _, err := action.Result(t.Context(), i.ID, api.Result{Status: api.Cancelled, Attempt: i.Attempt, Lease: i.Lease}); err != nil {
		t.Fatal(err)
	}
	if r := s.Run(run); r.Status != "cancelled" || r.FinishedAt.IsZero() {
		t.Errorf("the run is %s", r.Status)
	}
}
