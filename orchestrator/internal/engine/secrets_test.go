package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/sealed"
)

const (
	canary     = "canary-5a1fe6c3"
	needSecret = "name: simple\ntriggers: [{event: test}]\nactions:\n" +
		"  - {id: do, plugin: actor, with: {token: 'Bearer ${{ secrets.api }}', from: '${{ event.data.mount }}'}}\n"
)

// keeper is an action agent that has told a key for secrets.
type keeper struct {
	agent
	key *sealed.Key
}

func (w world) keeper(id api.AgentID) keeper {
	w.t.Helper()
	key, err := sealed.OpenKey(filepath.Join(w.t.TempDir(), "secrets.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	k := keeper{w.enrol(api.Action, id, "h"), key}
	w.tellsKey(k.agent, key.Public(), false)
	return k
}

// tellsKey sends a heartbeat with a key for secrets.
func (w world) tellsKey(a agent, key string, refused bool) {
	w.t.Helper()
	answer, err := w.Heartbeat(w.t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, SecretsKey: key})
	if err != nil || answer.SecretsKeyRefused != refused {
		w.t.Errorf("told a key: %+v, %v; want refused %v", answer, err, refused)
	}
}

// gets claims an instruction and returns what was sealed.
func (w world) gets(a agent, i api.Instruction, boot string) (api.ProgressResponse, error) {
	return w.Progress(w.t.Context(), a.Identity, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: boot})
}

func (k keeper) open(t testing.TB, i api.Instruction, text string) sealed.Contents {
	t.Helper()
	c, err := k.key.Open(sealed.Binding{Org: "default", Agent: k.Agent, Instruction: i.ID, Attempt: i.Attempt}, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w world) setSecret(value string) store.Secret {
	w.t.Helper()
	s, err := w.SetSecret(w.t.Context(), "default", "api", value)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// onRecord counts the records of an action.
func (w world) onRecord(action string) (n int) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		rows, err := r.Audit(0, 500)
		for _, row := range rows {
			if strings.Contains(fmt.Sprint(row), canary) {
				w.t.Errorf("the value stands in the audit: %+v", row)
			}
			if row.Action == action {
				n++
			}
		}
		return err
	})
	return n
}

// The agent that claims a step gets its secrets, sealed to its own key; nobody else does, at no
// other time, and the use is on record.
func TestSecretsComeWithTheClaim(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, k := w.enrol(api.Sensor, "s", "h"), w.keeper("a")
		w.setSecret(canary)
		w.apply(needSecret)
		w.sends(s, on(1, "[secret api] ${{ secrets.api }}"), api.EventAccepted)
		i := w.takes(k.agent)
		if got := string(i.InputData["token"]); got != `"Bearer [secret api]"` || fmt.Sprint(i.Secrets) != "[api]" || strings.Contains(fmt.Sprint(i), canary) {
			t.Errorf("offered %+v", i)
		}
		answer, err := w.gets(k.agent, i, "boot")
		if err != nil {
			t.Fatal(err)
		}
		c := k.open(t, i, answer.Secrets)
		filled, err := c.Into(i.InputData)
		if err != nil || string(filled["token"]) != `"Bearer `+canary+`"` || string(filled["from"]) != `"[secret api] ${{ secrets.api }}"` {
			t.Errorf("filled %s, %v", filled, err)
		}
		if fmt.Sprint(c.Hide) != "["+canary+"]" {
			t.Errorf("to hide: %d values", len(c.Hide))
		}
		again, err := w.gets(k.agent, i, "boot") // its answer was lost
		if err != nil || again.Secrets == "" || again.Secrets == answer.Secrets {
			t.Errorf("claimed again: %d bytes, %v", len(again.Secrets), err)
		}
		if more, err := w.gets(k.agent, i, ""); err != nil || more.Secrets != "" {
			t.Errorf("progress brings secrets: %+v, %v", more, err)
		}
		if _, err := w.gets(k.agent, i, "another boot"); err == nil {
			t.Error("another process of the agent claims it")
		}
		if n := w.onRecord("secret.use"); n != 2 {
			t.Errorf("%d uses on record, want 2", n)
		}
	})
}

func TestSecretsGoOnlyToAgentsWithAKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.setSecret(canary)
		w.apply(needSecret)
		w.sends(s, on(1, "/"), api.EventAccepted)
		if offers, err := w.Poll(t.Context(), a.Identity, 0, 1); err != nil || len(offers) != 0 {
			t.Fatalf("offered to an agent without a key: %+v, %v", offers, err)
		}
		w.read(func(r store.Reader) error {
			why, err := WhyNobody(r, "actor", instruction.Target{Host: "h", Secrets: true})
			if want := "agent a has told no key that secrets could be sealed to"; why != want {
				t.Errorf("told %q, want %q", why, want)
			}
			return err
		})
		time.Sleep(2 * time.Hour)
		w.runsAre("failed")
	})
}

// The first key counts, whatever comes later from whoever has the agent's TLS key.
func TestAnotherKeyIsRefusedUntilTheAgentIsEnrolledAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		k := w.keeper("a")
		thief := w.keeper("b").key.Public()
		w.tellsKey(k.agent, thief, true)
		w.tellsKey(k.agent, thief, true)
		w.tellsKey(k.agent, k.key.Public(), false)
		if n := w.onRecord("agent.secrets_key_refused"); n != 1 {
			t.Errorf("%d refusals on record, want 1", n)
		}
		if _, err := w.Heartbeat(t.Context(), k.Identity, api.Heartbeat{Status: StatusOnline, SecretsKey: "AAAA"}); err == nil {
			t.Error("takes what is no key")
		}
		again := w.enrol(api.Action, "a", "h")
		w.tellsKey(again, thief, false)
	})
}

func TestASecretThatIsNotThereRejectsItsStep(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, k := w.enrol(api.Sensor, "s", "h"), w.keeper("a")
		_, _, err := w.Apply(t.Context(), "default", "f", []byte(needSecret))
		if err == nil || !strings.Contains(err.Error(), "f:4:55: there is no secret \"api\": make it with `stavily secrets set api`") {
			t.Fatalf("applied without its secret: %v", err)
		}
		w.setSecret(canary)
		w.apply(needSecret)
		w.wantCode("deleting a secret that is used", w.DeleteSecret(t.Context(), "default", "api", false), api.CodeConflict)
		w.sends(s, on(1, "/"), api.EventAccepted)
		i := w.takes(k.agent)
		if err := w.DeleteSecret(t.Context(), "default", "api", true); err != nil {
			t.Fatal(err)
		}
		if err := w.DeleteSecret(t.Context(), "default", "api", true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
		_, err = w.gets(k.agent, i, "boot")
		w.wantCode("a claim without its secret", err, api.CodeConflict)
		if run := w.runsAre("failed")[0]; !strings.Contains(run.Error, "there is no secret api") {
			t.Errorf("the run says %q", run.Error)
		}
		if n := w.onRecord("secret.use"); n != 0 {
			t.Errorf("%d uses on record, want 0", n)
		}
		if again := w.setSecret(canary + "2"); again.Version != 2 {
			t.Errorf("made anew it has version %d: an approval of the first could be taken for it", again.Version)
		}
	})
}

// An approval is of a version, before it is given and after.
func TestAnApprovalHoldsTheVersionOfASecret(t *testing.T) {
	const text = "name: simple\ntriggers: [{event: test}]\nactions:\n  - {id: ok, approval: {count: 1, within: 10m}}\n" +
		"  - {id: do, plugin: actor, needs: [ok], with: {token: '${{ secrets.api }}'}}\n"
	for name, c := range map[string]struct{ before, after bool }{"as it was": {}, "set before": {before: true}, "set after": {after: true}} {
		inWorld(t, func(t *testing.T, w world) {
			s, k := w.enrol(api.Sensor, "s", "h"), w.keeper("a")
			w.setSecret(canary)
			w.apply(text)
			w.sends(s, on(1, "/"), api.EventAccepted)
			ap, asked := w.needed()
			if c.before {
				w.setSecret(canary + "-2")
			}
			if _, err := w.Judge(t.Context(), "default", ap.Run, workflow.Verdict{Step: "ok", Digest: asked.Digest, By: "ann", Approve: true}); err != nil {
				t.Fatal(err)
			}
			if c.before {
				w.runsAre("failed")
				return
			}
			i := w.takes(k.agent)
			if c.after {
				w.setSecret(canary + "-2")
			}
			answer, err := w.gets(k.agent, i, "boot")
			if c.after {
				w.wantCode(name, err, api.CodeConflict)
				w.runsAre("failed")
				return
			}
			if err != nil || k.open(t, i, answer.Secrets).Fills[0].Text != canary {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestRotationSealsEverySecretAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, k := w.enrol(api.Sensor, "s", "h"), w.keeper("a")
		before := w.setSecret(canary)
		if _, err := w.SetSecret(t.Context(), "other", "x", "another-canary"); err != nil {
			t.Fatal(err)
		}
		r, err := w.RotateSecrets(t.Context(), "default")
		if err != nil || r.Sealed != 2 || r.Key == before.Key || len(r.Unreadable) != 0 {
			t.Fatalf("rotated %+v, %v", r, err)
		}
		w = w.restart(0)
		w.read(func(r store.Reader) error {
			now, err := r.Secret("api")
			if now.Key == before.Key || now.Version != before.Version {
				t.Errorf("after rotation: %+v", now)
			}
			if w.vault.Retire(nil) != nil || w.ReadableSecret("default", before) == nil {
				t.Error("the old key is still there after the next start")
			}
			return err
		})
		w.apply(needSecret)
		w.sends(s, on(1, "/"), api.EventAccepted)
		i := w.takes(k.agent)
		answer, err := w.gets(k.agent, i, "boot")
		if err != nil || k.open(t, i, answer.Secrets).Hide[0] != canary {
			t.Errorf("after rotation: %v", err)
		}
	})
}

// What is sealed with a key that is lost is told of, and everything else goes on.
func TestASecretWhoseKeyIsLostIsTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, k := w.enrol(api.Sensor, "s", "h"), w.keeper("a")
		lost := w.setSecret(canary)
		w.apply(needSecret)
		w.vault = otherVault(t)
		if err := w.OpenSecrets(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.ReadableSecret("default", lost); !errors.Is(err, secret.ErrNoKey) {
			t.Errorf("readable: %v", err)
		}
		w.sends(s, on(1, "/"), api.EventAccepted)
		_, err := w.gets(k.agent, w.takes(k.agent), "boot")
		w.wantCode("a claim", err, api.CodeConflict)
		w.runsAre("failed")
		w.setSecret(canary)
		w.sends(s, on(2, "/"), api.EventAccepted)
		if answer, err := w.gets(k.agent, w.takes(k.agent), "boot"); err != nil || answer.Secrets == "" {
			t.Errorf("set again: %v", err)
		}
	})
}

func otherVault(t testing.TB) *secret.Vault {
	t.Helper()
	v, err := secret.Open(secret.Options{File: filepath.Join(t.TempDir(), "other.key")})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The self-test finds a store that would hold values in clear, in a form of base64 too.
func TestTheSelfTestFindsClearText(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		if err := w.proveSealed(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.read(func(r store.Reader) error {
			all, err := r.Secrets()
			if len(all) != 0 {
				t.Errorf("the self-test left %+v", all)
			}
			return err
		})
		good, err := w.vault.Seal(secret.Place{Org: proofOrg, Name: "proof", Version: 1}, canary)
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]store.Secret{
			"in clear":         {Name: "proof", Version: 1, Key: good.Key, Sealed: []byte(canary)},
			"with it":          {Name: "proof", Version: 1, Key: good.Key, Sealed: append([]byte(canary), good.Text...)},
			"in another field": {Name: "proof", Version: 1, Key: good.Key, Sealed: good.Text, UpdatedBy: canary},
			"as base64":        {Name: "proof", Version: 1, Key: good.Key, Sealed: []byte(base64.StdEncoding.EncodeToString([]byte(canary)))},
			"not bound":        {Name: "other", Version: 1, Key: good.Key, Sealed: good.Text},
		} {
			if err := w.isSealed(s, canary); err == nil {
				t.Errorf("%s: not found", name)
			}
		}
		if err := w.isSealed(store.Secret{Name: "proof", Version: 1, Key: good.Key, Sealed: good.Text}, canary); err != nil {
			t.Error(err)
		}
	})
}
