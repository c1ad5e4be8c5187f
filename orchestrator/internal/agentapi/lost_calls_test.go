package agentapi_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// losses are the calls of agents. begin prepares what all rounds of one need; each round is told
// its number, from 1. code is what the second call is answered, "" where that is a success.
var losses = []struct {
	route route.ID
	what  string
	begin func(*lossy) func(n int) round
	code  api.Code
}{
	{route: route.Enroll, begin: (*lossy).enrolments},
	{route: route.Renew, begin: (*lossy).renewals},
	{route: route.Renew, what: "late", begin: (*lossy).lateRenewals},
	{route: route.Refresh, begin: (*lossy).refreshes},
	{route: route.Heartbeat, begin: (*lossy).heartbeats},
	{route: route.Instructions, begin: (*lossy).polls},
	{route: route.Progress, what: "claim", begin: (*lossy).claims},
	{route: route.Progress, what: "report", begin: (*lossy).reports},
	{route: route.Result, begin: (*lossy).results},
	{route: route.Events, begin: (*lossy).events},
	{route: route.Logs, begin: (*lossy).logs},
	{route: route.Assignments, begin: (*lossy).assignments},
	{route: route.Monitors, begin: (*lossy).monitors},
	{route: route.Package, begin: (*lossy).packages},
	// Once per token, whatever becomes of the answer; the last, for refusals slow down who enrols.
	{route: route.Download, begin: (*lossy).downloads, code: api.CodeBadToken},
}

// agent enrols one for a round.
func (w *lossy) agent(typ api.AgentType, what string, n int) *servertest.Agent {
	return w.s.Enrol(typ, api.AgentID(fmt.Sprintf("%s-%d", what, n)), what)
}

// isWell checks that the agent is let in.
func (w *lossy) isWell(a *servertest.Agent) {
	w.t.Helper()
	if err := again(func() error { return second(a.Heartbeat(w.t.Context(), api.Heartbeat{Status: "online"})) }); err != nil {
		w.t.Errorf("agent %s: %v", a.ID, err)
	}
}

func (w *lossy) enrolments() func(n int) round {
	return func(n int) round {
		id, key, token := api.AgentID(fmt.Sprintf("enrolled-%d", n)), newKey(w.t), w.s.Token(api.Sensor, "")
		var answer api.EnrollResponse
		return round{func() (err error) {
			answer, err = w.s.EnrolWith(token, id, key, "h")
			return err
		}, func() {
			a := w.s.Connect(id, key, answer)
			w.isWell(a)
			w.recorded("agent.enroll", string(id), "serial "+a.Cert.Leaf.SerialNumber.Text(16))
		}}
	}
}

// renewal asks for a certificate by call; what it brings is checked.
func (w *lossy) renewal(a *servertest.Agent, call func(api.CertificateRequest) (api.EnrollResponse, error), check func(*servertest.Agent)) round {
	key := newKey(w.t)
	csr, err := pki.NewCSR(key, a.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	var answer api.EnrollResponse
	return round{func() (err error) {
		answer, err = call(api.CertificateRequest{CSRPEM: string(csr)})
		return err
	}, func() {
		renewed := w.s.Connect(a.ID, key, answer)
		check(renewed)
		w.isWell(renewed)
		w.recorded("certificate.renew", string(a.ID), "serial "+renewed.Cert.Leaf.SerialNumber.Text(16))
	}}
}

func (w *lossy) renewals() func(n int) round {
	return func(n int) round {
		a := w.agent(api.Sensor, "renewed", n)
		return w.renewal(a, func(r api.CertificateRequest) (api.EnrollResponse, error) { return a.Renew(w.t.Context(), r) }, func(*servertest.Agent) {
			w.isWell(a) // until the new one is used
		})
	}
}

func (w *lossy) lateRenewals() func(n int) round {
	return func(n int) round {
		a := w.agent(api.Sensor, "late", n)
		late := w.client(a.ID, ended(w.t, w.s, a, time.Minute).Cert, nil)
		return w.renewal(a, func(r api.CertificateRequest) (api.EnrollResponse, error) { return late.RenewLate(w.t.Context(), r) }, func(renewed *servertest.Agent) {
			var shown operatorapi.Agent
			w.s.Do(http.MethodGet, "/api/v1/agents/"+string(a.ID), nil, &shown)
			serial := renewed.Cert.Leaf.SerialNumber.Text(16)
			if shown.Quarantine == nil || shown.Quarantine.Serial != serial {
				w.t.Fatalf("%s: quarantine %+v, want of certificate %s", a.ID, shown.Quarantine, serial)
			}
			w.recorded("agent.quarantine", string(a.ID), a.Cert.Leaf.SerialNumber.Text(16))
			w.s.Do(http.MethodPost, "/api/v1/agents/"+string(a.ID)+"/approve", operatorapi.ApproveRequest{Serial: serial}, nil)
		})
	}
}

// client is that of an agent with a certificate, or with a token where cert is none.
func (w *lossy) client(id api.AgentID, cert tls.Certificate, token func() string) *api.Client {
	w.t.Helper()
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: w.s.HTTP(nil).Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if token == nil {
		conf.Certificates = []tls.Certificate{cert}
	}
	c, err := api.NewClient(api.ClientOptions{BaseURL: w.s.URL(), TLS: conf, Agent: id, Token: token, Timeout: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.CloseIdle)
	return c
}

// Each answer is a token of its own, and each is on record; both let the one agent in.
func (w *lossy) refreshes() func(n int) round {
	return func(n int) round {
		id := api.AgentID(fmt.Sprintf("refreshed-%d", n))
		token := jwt(w.t, w.s, api.Sensor, id)
		c := w.client(id, tls.Certificate{}, func() string { return token })
		var answer api.TokenResponse
		return round{func() (err error) {
			answer, err = c.Refresh(w.t.Context())
			return err
		}, func() {
			a := &servertest.Agent{Client: c, ID: id}
			w.isWell(a)
			token = answer.Token
			w.isWell(a)
			if rows := w.records("jwt.refresh", string(id)); len(rows) != 2 || rows[0].Detail == rows[1].Detail {
				w.t.Errorf("on record are %+v, want one of each token", rows)
			}
		}}
	}
}

// A posture that got worse is told once.
func (w *lossy) heartbeats() func(n int) round {
	return func(n int) round {
		a := w.agent(api.Action, "beating", n)
		beat := api.Heartbeat{Status: "online", Sandbox: &api.Posture{Level: api.SandboxFull}}
		if err := second(a.Heartbeat(w.t.Context(), beat)); err != nil {
			w.t.Fatal(err)
		}
		beat.Sandbox = &api.Posture{Level: api.SandboxConfined}
		return round{func() error { return second(a.Heartbeat(w.t.Context(), beat)) }, func() {
			w.recorded("sandbox.degraded", string(a.ID), "full → confined")
		}}
	}
}

// chain runs its second step when the first is completed.
const chain = `
name: chain
triggers: [{event: disk.space.high}]
actions:
  - {id: clean, plugin: disk-cleaner, agents: {same_host: true}}
  - {id: tell, plugin: webhook, agents: {same_host: true}, needs: [clean]}
`

// work gives the action agent of a host of its own one instruction at a time.
type work struct {
	*lossy
	host           string
	sensor, action *servertest.Agent
}

func (w *lossy) work(host string) *work {
	w.s.Apply(chain)
	return &work{w, host, w.s.Enrol(api.Sensor, api.AgentID(host+"-s"), host), w.s.Enrol(api.Action, api.AgentID(host+"-a"), host)}
}

func (w *work) event(n int) api.EventBatch {
	return full(uint64(n), api.EventID(fmt.Sprintf("%s-%d", w.host, n)), "95")
}

// offered has the server offer an instruction.
func (w *work) offered(n int) api.Instruction {
	w.t.Helper()
	send(w.t, w.sensor, w.event(n), api.EventAccepted)
	return take(w.t, w.action)
}

func (w *work) claim(i api.Instruction) error {
	return second(w.action.Progress(w.t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}))
}

func (w *work) started(n int) api.Instruction {
	w.t.Helper()
	i := w.offered(n)
	if err := w.claim(i); err != nil {
		w.t.Fatal(err)
	}
	return i
}

// happened is how often something of a kind is in the history of the instruction's step.
func (w *work) happened(i api.Instruction, kind string) (times int) {
	for _, h := range w.s.Run(i.Context.RunID).History {
		if h.Kind == kind && h.Step == i.Context.Step {
			times++
		}
	}
	return times
}

func (w *work) once(i api.Instruction, kind string) {
	w.t.Helper()
	if times := w.happened(i, kind); times != 1 {
		w.t.Errorf("%s of instruction %s is %d times in the history, want once", kind, i.ID, times)
	}
}

// lines are what the log of the instruction's run has.
func (w *work) lines(i api.Instruction) (lines []string) {
	w.t.Helper()
	err := w.s.Operator.Follow(w.t.Context(), "/api/v1/runs/"+string(i.Context.RunID)+"/logs", nil, func(text json.RawMessage) error {
		var line operatorapi.Log
		err := json.Unmarshal(text, &line)
		lines = append(lines, line.Message)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

func (w *work) reads(i api.Instruction, want ...string) {
	w.t.Helper()
	if got := w.lines(i); !slices.Equal(got, want) {
		w.t.Errorf("the log of instruction %s reads %q, want %q", i.ID, got, want)
	}
}

// What was offered and did not arrive is offered again once its lease is over, and started once.
func (w *lossy) polls() func(n int) round {
	k, claimed := w.work("polling"), map[api.InstructionID]bool{}
	return func(n int) round {
		send(w.t, k.sensor, k.event(n), api.EventAccepted)
		var answer api.PollResponse
		return round{func() (err error) {
			answer, err = k.action.Poll(w.t.Context(), 2*time.Minute, 1)
			return err
		}, func() {
			if len(answer.Offers()) != 1 {
				w.t.Fatalf("offered are %+v, want one", answer.Offers())
			}
			i := answer.Offers()[0]
			if err := k.claim(i); err != nil || claimed[i.ID] || i.Attempt != 1 {
				w.t.Errorf("claim of instruction %s, attempt %d, claimed before %v: %v", i.ID, i.Attempt, claimed[i.ID], err)
			}
			claimed[i.ID] = true
			k.once(i, "step_started")
		}}
	}
}

func (w *lossy) claims() func(n int) round {
	k := w.work("claiming")
	return func(n int) round {
		i := k.offered(n)
		return round{func() error { return k.claim(i) }, func() {
			k.once(i, "step_started")
			_, err := k.action.Progress(w.t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "other"})
			if api.CodeOf(err) != api.CodeConflict {
				w.t.Errorf("the claim of another process: %v, want conflict", err)
			}
		}}
	}
}

// Lines of a report whose answer was lost come again, with the report or with the result.
func (w *lossy) reports() func(n int) round {
	k := w.work("reporting")
	return func(n int) round {
		i := k.started(n)
		half := 50.0
		report := api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, Percent: &half, ExecutionLog: []string{"begins", "goes on"}, LogFrom: 1}
		return round{func() error { return second(k.action.Progress(w.t.Context(), i.ID, report)) }, func() {
			k.reads(i, "begins", "goes on")
			result := api.Result{Status: api.Completed, Attempt: i.Attempt, Lease: i.Lease, ExecutionLog: []string{"goes on", "ends"}, LogFrom: 2}
			if err := second(k.action.Result(w.t.Context(), i.ID, result)); err != nil {
				w.t.Error(err)
			}
			k.reads(i, "begins", "goes on", "ends")
			take(w.t, k.action) // the next step, which nobody else is to get
		}}
	}
}

func (w *lossy) results() func(n int) round {
	k := w.work("ending")
	return func(n int) round {
		i := k.started(n)
		result := api.Result{Status: api.Completed, Attempt: i.Attempt, Lease: i.Lease, Result: json.RawMessage(`{"freed_bytes":42}`), ExecutionLog: []string{"did it"}}
		return round{func() error { return second(k.action.Result(w.t.Context(), i.ID, result)) }, func() {
			k.once(i, "step_ended")
			k.reads(i, "did it")
			tell := take(w.t, k.action)
			k.once(tell, "step_dispatched")
			if run := w.s.Run(i.Context.RunID); len(run.Steps) != 2 || run.Steps[0].Status != api.Completed || string(run.Steps[0].Result.Result) != string(result.Result) {
				w.t.Errorf("steps %+v", run.Steps)
			}
		}}
	}
}

func (w *lossy) events() func(n int) round {
	k := w.work("noticing")
	return func(n int) round {
		batch := k.event(n)
		var answer api.EventBatchResponse
		return round{func() (err error) {
			answer, err = k.sensor.Events(w.t.Context(), batch)
			return err
		}, func() {
			id := batch.Events[0].ID
			if answer.AckedThrough < batch.Events[0].Seq || len(answer.Events) != 1 || answer.Events[0].Status != api.EventDuplicate {
				w.t.Errorf("answered %+v, want a duplicate", answer)
			}
			var found []operatorapi.Explanation
			w.s.Do(http.MethodGet, "/api/v1/events/"+string(id)+"/explanation", nil, &found)
			if len(found) != 1 {
				w.t.Errorf("event %s is stored %d times", id, len(found))
			}
			if runs := list[operatorapi.Run](w, "/api/v1/runs", "event", string(id)); len(runs) != 1 {
				w.t.Errorf("event %s has %d runs", id, len(runs))
			}
		}}
	}
}

func (w *lossy) logs() func(n int) round {
	k := w.work("logging")
	i := k.started(1)
	return func(n int) round {
		line := fmt.Sprint("line ", n)
		batch := api.LogBatch{Stream: api.Stream{Epoch: "process"}, From: n, Logs: []api.LogEntry{{InstructionID: i.ID, Timestamp: api.At(time.Now()), Level: "info", Message: line}}}
		return round{func() error { return second(k.action.Logs(w.t.Context(), batch)) }, func() {
			times := 0
			for _, l := range k.lines(i) {
				if l == line {
					times++
				}
			}
			if times != 1 {
				w.t.Errorf("%q is %d times in the log", line, times)
			}
		}}
	}
}

// question is a call that asks and changes nothing: the answer is what it was for who lost none.
func question[A any](w *lossy, call func() (A, error)) func(n int) round {
	want, err := call()
	if err != nil {
		w.t.Fatal(err)
	}
	return func(int) round {
		var answer A
		return round{func() (err error) {
			answer, err = call()
			return err
		}, func() {
			if !reflect.DeepEqual(answer, want) {
				w.t.Errorf("answered %+v, want %+v", answer, want)
			}
		}}
	}
}

// assigned is an agent that is to have a package.
func (w *lossy) assigned(id api.AgentID, plugin api.PluginID) (a *servertest.Agent, content []byte) {
	a, content = w.s.Enrol(api.Action, id, string(id)), packtest.Pack(w.t, string(plugin), "1.0.0", nil)
	w.s.Publish(content)
	w.s.Assign(plugin, operatorapi.AssignRequest{Selector: "agent:" + string(id), AtOnce: true})
	return a, content
}

func (w *lossy) assignments() func(n int) round {
	a, _ := w.assigned("assigned", "cleaner")
	return question(w, func() (api.Assignments, error) {
		set, _, err := a.Assignments(w.t.Context(), "other", time.Minute)
		if err == nil && len(set.Plugins) != 1 {
			err = fmt.Errorf("assigned are %+v, want one", set.Plugins)
		}
		return set, err
	})
}

func (w *lossy) monitors() func(n int) round {
	w.s.Apply("name: watched\ntriggers: [{id: disk, event: disk.full, monitor: {plugin: disk-space, interval: 5s}}]\noutputs: [{plugin: p}]\n")
	a := w.agent(api.Sensor, "watching", 1)
	return question(w, func() (api.Monitors, error) {
		set, err := a.Monitors(w.t.Context())
		if err == nil && len(set.Monitors) != 1 {
			err = fmt.Errorf("wanted are %+v, want one", set.Monitors)
		}
		return set, err
	})
}

func (w *lossy) packages() func(n int) round {
	a, content := w.assigned("fetching", "sweeper")
	p := set(w.t, a).Plugins[0]
	dir := w.t.TempDir()
	return func(n int) round {
		path := filepath.Join(dir, fmt.Sprint(n))
		return round{func() error {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				return err
			}
			defer f.Close()
			return a.FetchPackage(w.t.Context(), p, f)
		}, func() {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				w.t.Errorf("fetched %d bytes, want %d as published, %v", len(got), len(content), err)
			}
		}}
	}
}

func (w *lossy) downloads() func(n int) round {
	return func(n int) round {
		token, id := w.s.Token(api.Sensor, ""), api.AgentID(fmt.Sprintf("downloaded-%d", n))
		if _, err := w.s.EnrolWith(token, id, newKey(w.t), "h"); err != nil {
			w.t.Fatal(err)
		}
		return round{func() error { return w.download(token.Token) }, func() {
			times := 0
			for _, r := range w.records("certificate.download", "client.crt") {
				if r.Detail == string(id) {
					times++
				}
			}
			if times != 1 {
				w.t.Errorf("the download of %s is %d times on record", id, times)
			}
		}}
	}
}

// download fetches the certificate of a token as a script does.
func (w *lossy) download(token string) error {
	client := w.s.HTTP(nil)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.s.URL()+strings.Replace(api.PathDownload, "{file}", "client.crt", 1), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var refusal api.ErrorBody
	if err := json.NewDecoder(answer.Body).Decode(&refusal); err != nil {
		return err
	}
	refusal.Error.HTTPStatus = answer.StatusCode
	if answer.StatusCode == http.StatusTooManyRequests {
		refusal.Error.RetryAfter = time.Second
	}
	return refusal.Error
}
