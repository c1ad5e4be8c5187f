package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// reasons are workflows that do nothing about an event, each for a reason of its own, and what
// `stavily explain` says of it: the clause, and its values.
var reasons = []struct{ name, text, sends, want string }{
	{"condition", "when: event.data.percent >= 90\n", "a a",
		`(?s)did not run: when is not met: event.data.percent >= 90 \(event.data.percent = 42\).*not met +when event.data.percent >= 90 +event.data.percent = 42`},
	{"cooldown", "cooldown: 30m\n", "b b", `(?s)did not run: cooldown, (30m0s|29m5\ds) left.*not met +no cooldown +\S+ left, until 20`},
	{"dedupe", "dedupe: {key: [event.data.percent], window: 10m}\n", "c c",
		`(?s)did not run: a duplicate of what came before, for \S+ more.*not met +no duplicate +\S+ left, until 20`},
	{"limit", "limits: {runs: {count: 1, per: 1h}}\n", "d d", `(?s)did not run: limit: 1 runs within 1h0m0s.*not met +fewer than 1 runs per 1h0m0s +1`},
	{"freeze", "limits: {freeze: ['00:00 - 12:00', '12:00 - 00:00']}\n", "e", `(?s)did not run: frozen: \d\d:00 - \d\d:00.*not met +not frozen: \d\d:00 - \d\d:00 +\w+ \d\d:\d\d`},
	{"off", "mode: off\n", "f", `(?s)did not run: the workflow is off.*not met +mode is not off +off`},
	{"no-agent", "", "g", `(?s)started run \S+, which is running.*step +p: pending +no action agent is on host h`},
	{"expired", "limits: {expires_after: 1s}\n", "h", `(?s)started run \S+, which is failed: step p: expired: No agent started it before it expired: no action agent is on host h`},
	{"attempts", "limits: {attempts: {count: 1, per: 1h}}\n", "i i", `(?s)did not run: attempts: 1 within 1h0m0s.*not met +fewer than 1 attempts per 1h0m0s +1`},
	{"concurrency", "limits: {concurrency: {max: 1, excess: drop}}\n", "j j", `(?s)did not run: concurrency: 1 go on, at most 1.*not met +fewer than 1 at a time +1 go on`},
	{"correlate", "correlate: {mode: count, count: 3, within: 5m, key: []}\n", "k k", `(?s)did not run: correlate 3 events within 5m0s: 2 of 3, until 20\S+.*not met +correlate 3 events within 5m0s +2 of 3, until 20`},
	{"throttle", "throttle: {first_in: 5m}\n", "l l", `(?s)did not run: throttled, for \S+ more.*not met +throttle: the first in 5m0s +\S+ left, until 20`},
}

// For each reason not to run the explanation of an event names the clause and its values.
func TestExplainNamesTheReason(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "s", "h")
	stavily := func(args ...string) string {
		t.Helper()
		code, out, errs := run(t, append([]string{"--data-dir", s.DataDir}, args...)...)
		if code != exitOK {
			t.Fatalf("%v = %d: %s%s", args, code, out, errs)
		}
		return out
	}
	var seq uint64
	send := func(id, typ string) {
		t.Helper()
		seq++
		_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
			Seq: seq, ID: api.EventID(id), Type: typ, Severity: api.Low, Timestamp: api.At(time.Now()), Data: map[string]json.RawMessage{"percent": json.RawMessage("42")},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range reasons {
		types := strings.Fields(r.sends)
		s.Apply("name: " + r.name + "\ntriggers: [{event: " + types[0] + "}]\n" + r.text + "actions: [{plugin: p}]\n")
		for n, typ := range types {
			send(r.name+[]string{"", "-2"}[n], typ)
		}
	}
	time.Sleep(1200 * time.Millisecond) // what expires after a second has expired
	for _, r := range reasons {
		id := r.name
		if strings.Contains(r.sends, " ") {
			id += "-2"
		}
		if out := stavily("explain", id); !regexp.MustCompile(r.want).MatchString(out) {
			t.Errorf("%s: %s\nwant %s", r.name, out, r.want)
		}
	}

	s.Apply("name: asks\ntriggers: [{event: m}]\nactions: [{id: ok, approval: {}}, {plugin: p, needs: [ok]}]\n")
	send("denied", "m")
	var all []operatorapi.Approval
	if err := json.Unmarshal([]byte(stavily("approvals", "list", "-o", "json")), &all); err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	stavily("approvals", "deny", string(all[0].Run), "ok", "--by", "ann", "--reason", "not today")
	if out := stavily("explain", "denied"); !strings.Contains(out, "which is failed: step ok: rejected: denied by ann: not today") {
		t.Errorf("approval denied: %s", out)
	}

	s.Apply("name: ping\ntriggers: [{event: n}, {workflow: pong}]\nactions: [{plugin: p, when: false}]\n")
	s.Apply("name: pong\ntriggers: [{workflow: ping}]\nactions: [{plugin: p, when: false}]\n")
	send("loop", "n")
	var events []operatorapi.Event
	if err := json.Unmarshal([]byte(stavily("events", "list", "--agent", string(workflow.OwnSender), "--limit", "500", "-o", "json")), &events); err != nil || len(events) == 0 {
		t.Fatalf("%+v, %v", events, err)
	}
	told := false
	for _, e := range events {
		out := stavily("explain", string(e.ID))
		told = told || strings.Contains(out, "did not run: loop: 9 workflows have started one another") && regexp.MustCompile(`not met +at most 8 workflows start one another +9`).MatchString(out)
	}
	if !told {
		t.Errorf("no explanation of %d events tells of the loop", len(events))
	}
}
