package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestResultsComeInBelowTheMark: what may wait is refused while the disk has little left, and
// what was begun goes on to its end.
func TestResultsComeInBelowTheMark(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		const total = 10 << 30
		var free atomic.Int64
		free.Store(total)
		w.room.disk = Disk{Keep: DefaultKeepFree, Space: func() (int64, int64, error) { return free.Load(), total, nil }}
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		first := w.takes(a)
		call := w.webhook()
		w.claims(a, first)
		w.sends(s, event(2), api.EventAccepted)

		free.Store(DefaultKeepFree - 1)
		if c, full := w.Full(); !full || c.Status != "degraded" || c.Since.IsZero() {
			t.Errorf("the condition is %+v, %t", c, full)
		}
		_, err := w.Events(t.Context(), s.Identity, event(3))
		w.wantRefusal("an event", err)
		lines := api.LogBatch{Logs: []api.LogEntry{{Timestamp: api.At(time.Now()), Level: "info", Plugin: "p", Message: "hello"}}}
		_, err = w.Logs(t.Context(), a.Identity, lines)
		w.wantRefusal("a line of a log", err)
		_, _, err = w.Webhook(t.Context(), "default", call)
		w.wantRefusal("a webhook", err)
		_, _, err = w.Publish(t.Context(), "default", strings.NewReader("none of it is read"))
		w.wantRefusal("a package", err)
		if err := w.reports(a, first, api.Completed); err != nil {
			t.Errorf("a result: %v", err)
		}
		second := w.takes(a)
		w.claims(a, second)
		if err := w.reports(a, second, api.Completed); err != nil {
			t.Errorf("the result of what was begun then: %v", err)
		}
		if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline}); err != nil {
			t.Errorf("a heartbeat: %v", err)
		}
		if err := w.Revoke(t.Context(), "default", "s", "gone"); err != nil {
			t.Errorf("what is audited: %v", err)
		}
		w.runsAre("completed", "completed")

		free.Store(DefaultKeepFree)
		if _, err := w.Logs(t.Context(), a.Identity, lines); err != nil {
			t.Errorf("a line of a log with room: %v", err)
		}
		if _, repeated, err := w.Webhook(t.Context(), "default", call); err != nil || repeated {
			t.Errorf("the same call with room: repeated %t, %v", repeated, err)
		}
		s = w.enrol(api.Sensor, "s2", "h")
		w.sends(s, event(3), api.EventAccepted)
		if c, full := w.Full(); full {
			t.Errorf("with room there is %+v", c)
		}
	})
}

// webhook is a signed call that a workflow waits for.
func (w world) webhook() workflow.WebhookCall {
	w.t.Helper()
	const key = "0123456789abcdef0123456789abcdef"
	if _, err := w.SetSecret(w.t.Context(), "default", "hook", key); err != nil {
		w.t.Fatal(err)
	}
	w.apply("name: hooked\ntriggers: [{webhook: {path: deploy, secret: \"secret:hook\", signature: github}}]\noutputs: [{id: tell, plugin: file, on: [failed], with: {text: never}}]\n")
	body := []byte("{}")
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return workflow.WebhookCall{Path: "deploy", Body: body, Signature: "sha256=" + hex.EncodeToString(mac.Sum(nil)), Delivery: "1"}
}

// wantRefusal wants to be told to come again.
func (w world) wantRefusal(what string, err error) {
	w.t.Helper()
	w.wantCode(what, err, api.CodeUnavailable)
	if api.RetryAfter(err) != fullRetry {
		w.t.Errorf("%s is to be sent again after %v", what, api.RetryAfter(err))
	}
}

// TestWhatIsKeptOfADisk: a small disk is not all kept, and what nobody can tell is not full.
func TestWhatIsKeptOfADisk(t *testing.T) {
	d := Disk{Keep: DefaultKeepFree}
	for total, want := range map[int64]int64{1 << 40: DefaultKeepFree, 64 << 20: 4 << 20, 0: 0} {
		if got := d.Kept(total); got != want {
			t.Errorf("of %d bytes %d are kept, want %d", total, got, want)
		}
	}
	d.Space = func() (int64, int64, error) { return 0, 0, errors.New("no such file") }
	e := Engine{room: room{disk: d}}
	if c, full := e.Full(); full {
		t.Errorf("nothing is known, and it says %+v", c)
	}
}
