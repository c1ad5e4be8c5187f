package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// client speaks plain HTTP with an enrolled agent's certificate, as another
// implementation of the agent would.
type client struct {
	*http.Client
	t    *testing.T
	base string
}

func (w *world) client(a *cluster.Agent) *client {
	w.t.Helper()
	dir := filepath.Join(a.Base, "certificates")
	creds, err := pki.LoadCredentials(pki.Files{
		Cert: filepath.Join(dir, "client.crt"), Key: filepath.Join(dir, "client.key"), CA: filepath.Join(dir, "ca.crt"),
	})
	w.must(err)
	transport := &http.Transport{TLSClientConfig: creds.ClientTLS(pki.ClientOptions{}), ForceAttemptHTTP2: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &client{&http.Client{Transport: transport}, w.t, w.URL() + "/agents/v1/"}
}

// call returns the status and the body of an answer.
func (c *client) call(ctx context.Context, method, path, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(text)
}

const oneStep = `name: one
triggers:
  - event: test.go
actions:
  - id: work
    plugin: anything
    with: {n: "${{ event.data.n }}"}
`

const oneEvent = `{"stream": {"epoch": "0123456789abcdef0123456789abcdef"}, "events": [
  {"seq": 1, "id": "01JD0000000000000000000001", "type": "test.go", "timestamp": "2026-01-02T03:04:05Z", "severity": "low", "data": {"n": 5}}]}`

// The plainest client of the Agent API: no wait, no max, no lease, no attempt.
func TestPlainPoller(t *testing.T) {
	w := newWorld(t)
	w.apply(oneStep)
	sensor := w.client(w.agent("plain-s", api.Sensor, nil, nil))
	action := w.client(w.agent("plain-a", api.Action, nil, nil))

	poll := func() (int, api.PollResponse) {
		status, body := action.call(w.ctx, "GET", "plain-a/instructions", "")
		var answer api.PollResponse
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("poll answered %d %q: %v", status, body, err)
		}
		return status, answer
	}
	if status, answer := poll(); status != 200 || answer.Instruction != nil || answer.Status != "no_pending_instructions" || answer.NextPollInterval != 10 {
		t.Fatalf("poll without work = %d %+v", status, answer)
	}
	if status, body := sensor.call(w.ctx, "POST", "plain-s/events", oneEvent); status != 200 {
		t.Fatalf("event = %d %s", status, body)
	}
	status, answer := poll()
	if status != 200 || answer.Instruction == nil || answer.Status != "instruction_delivered" || string(answer.Instruction.InputData["n"]) != "5" {
		t.Fatalf("poll with work = %d %+v", status, answer)
	}
	path := "plain-a/instructions/" + string(answer.Instruction.ID)
	if status, body := action.call(w.ctx, "PUT", path, `{"status": "executing", "execution_log": ["began"]}`); status != 200 {
		t.Fatalf("claim = %d %s", status, body)
	}
	for range 2 { // repeating the result is harmless
		status, body := action.call(w.ctx, "POST", path+"/result", `{"status": "completed", "result": {"m": 6}}`)
		var ack api.ResultResponse
		if err := json.Unmarshal([]byte(body), &ack); err != nil || status != 200 || !ack.Acknowledged {
			t.Fatalf("result = %d %s", status, body)
		}
	}
	if r := w.awaitRun(); r.Status != "completed" || compact(t, r.Steps[0].Result.Result) != `{"m":6}` {
		t.Errorf("run = %+v", r)
	}
}

// Who may call what, from outside: a sensor no instructions, A not as B, nobody
// once revoked, on the connection that is already open.
func TestIdentityIsTheCertificate(t *testing.T) {
	w := newWorld(t)
	sensor := w.client(w.agent("id-s", api.Sensor, nil, nil))
	a := w.client(w.agent("id-a", api.Action, nil, nil))
	w.agent("id-b", api.Action, nil, nil)

	for _, c := range []struct {
		who          *client
		method, path string
		body         string
	}{
		{sensor, "GET", "id-s/instructions", ""},
		{sensor, "GET", "id-a/instructions", ""},
		{a, "GET", "id-b/instructions", ""},
		{a, "POST", "id-b/heartbeat", `{"status": "online"}`},
		{a, "POST", "id-a/events", oneEvent},
	} {
		if status, body := c.who.call(w.ctx, c.method, c.path, c.body); status != 403 {
			t.Errorf("%s %s = %d %s, want 403", c.method, c.path, status, body)
		}
	}

	type answer struct {
		status int
		after  time.Duration
	}
	answers := make(chan answer, 1)
	begin, sent := time.Now(), make(chan struct{})
	traced := httptrace.WithClientTrace(w.ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
	go func() { // a poll that waits on an open connection
		status, _ := a.call(traced, "GET", "id-a/instructions?wait=30", "")
		answers <- answer{status, time.Since(begin)}
	}()
	<-sent
	_, err := w.CLI(w.ctx, "agents", "revoke", "id-a", "--reason", "stolen")
	w.must(err)
	revoked := time.Since(begin)
	got := <-answers
	if late := got.after - revoked; got.status != 403 || late > time.Second {
		t.Errorf("the open poll answered %d %v after the revocation, want 403 within a second", got.status, late)
	}
	if status, body := a.call(w.ctx, "GET", "id-a/instructions", ""); status != 403 {
		t.Errorf("a revoked agent = %d %s, want 403", status, body)
	}
}
