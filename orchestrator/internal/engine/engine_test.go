package engine

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/depot"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// world is an engine over a real store with its reaper running, in a bubble whose
// clock jumps when everybody waits.
type world struct {
	*Engine
	*uses
	t testing.TB

	restart func(down time.Duration) world // stops the engine and starts another over the same files
}

// uses is how often a store was asked, and what happens before it commits.
type uses struct {
	reads, writes atomic.Int64      // transactions
	committing    func() error      // called before the next commit, and not again; its error undoes the transaction
	kept          atomic.Int64      // streams, while adding is set
	adding        func(store.Event) // called before an event is added, while another transaction is said to wait; nil: none is
}

// counting counts the uses of a store.
type counting struct {
	store.Store
	*uses
}

type countingScope struct {
	store.Scope
	*uses
}

func (c counting) Org(id api.OrgID) store.Scope { return countingScope{c.Store.Org(id), c.uses} }

func (c countingScope) Update(ctx context.Context, f func(store.Tx) error) error {
	c.writes.Add(1)
	return c.Scope.Update(ctx, func(tx store.Tx) error {
		if c.adding != nil {
			tx = awaited{tx, c.uses}
		}
		err := f(tx)
		if hook := c.committing; err == nil && hook != nil {
			c.committing, err = nil, hook()
		}
		return err
	})
}

// awaited is a transaction that another one waits for.
type awaited struct {
	store.Tx
	*uses
}

func (awaited) Awaited() bool { return true }

func (a awaited) AddEvent(e store.Event) error {
	a.adding(e)
	return a.Tx.AddEvent(e)
}

func (a awaited) PutStream(agent api.AgentID, s delivery.Stream) error {
	a.kept.Add(1)
	return a.Tx.PutStream(agent, s)
}

func (c countingScope) View(ctx context.Context, f func(store.Reader) error) error {
	c.reads.Add(1)
	return c.Scope.View(ctx, f)
}

// inWorld runs f in a new world.
func inWorld(t *testing.T, f func(t *testing.T, w world)) {
	t.Helper()
	inWorldOf(t, ca.DefaultLifetime, f)
}

// inWorldOf has certificates live for so long.
func inWorldOf(t *testing.T, life time.Duration, f func(t *testing.T, w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "stavily.db")
		authority, err := ca.Open(t.TempDir(), ca.Options{Lifetime: life})
		if err != nil {
			t.Fatal(err)
		}
		asked := new(uses)
		packages, err := depot.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		keys := filepath.Join(t.TempDir(), "secrets.key")
		var end func()
		var start func() world
		start = func() world {
			st, err := sqlite.Open(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			vault, err := secret.Open(secret.Options{File: keys})
			if err != nil {
				t.Fatal(err)
			}
			e := New(counting{st, asked}, authority, Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Depot: packages, Vault: vault})
			if err := e.OpenSecrets(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			end = func() {
				stop()
				if err := errors.Join(<-ended, st.Close()); err != nil {
					t.Error(err)
				}
			}
			return world{e, asked, t, func(down time.Duration) world {
				end()
				time.Sleep(down)
				return start()
			}}
		}
		f(t, start())
		end()
	})
}

// agent is an enrolled agent as the engine sees it.
type agent struct {
	pki.Identity
	key  crypto.Signer
	cert *x509.Certificate
}

func csr(t testing.TB, key crypto.Signer) string {
	t.Helper()
	text, err := pki.NewCSR(key, "whatever")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func certificate(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	certs, err := pki.ParseCertificates([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

// enrol enrols an agent, which tells its posture when one is given.
func (w world) enrol(typ api.AgentType, id api.AgentID, host string, told ...*api.Posture) agent {
	w.t.Helper()
	token, _, err := w.CreateToken(w.t.Context(), "default", TokenSpec{Type: typ, Agent: id})
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := pki.GenerateKey()
	if err != nil {
		w.t.Fatal(err)
	}
	request := api.EnrollRequest{AgentID: id, AgentType: typ, CSRPEM: csr(w.t, key), Hostname: host}
	for _, p := range told {
		request.Sandbox = p
	}
	answer, err := w.Enroll(w.t.Context(), token, request)
	if err != nil {
		w.t.Fatal(err)
	}
	return agent{pki.Identity{TrustDomain: ca.DefaultTrustDomain, Org: "default", Type: typ, Agent: id}, key, certificate(w.t, answer.CertificatePEM)}
}

func (w world) apply(text string) {
	w.t.Helper()
	if _, _, err := w.Apply(w.t.Context(), "default", "test.yaml", []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// simple is a workflow of one step, with more lines for the document or the step.
func simple(document, step string) string {
	return "name: simple\ntriggers:\n  - event: test\n" + document + "actions:\n  - id: act\n    plugin: actor\n" + step
}

const epoch = "0123456789abcdef0123456789abcdef"

// event is a batch of one event with this number.
func event(seq uint64) api.EventBatch {
	return api.EventBatch{Stream: api.Stream{Epoch: epoch}, Events: []api.Event{{
		Seq: seq, ID: api.EventID(fmt.Sprintf("E%d", seq)), Type: "test", Severity: api.Low, Timestamp: api.At(time.Now()),
	}}}
}

// sends hands in a batch, wants this outcome for its first event.
func (w world) sends(a agent, b api.EventBatch, want string) {
	w.t.Helper()
	answer, err := w.Events(w.t.Context(), a.Identity, b)
	if err != nil || answer.Events[0].Status != want {
		w.t.Fatalf("events = %+v, %v, want %s", answer, err, want)
	}
}

// takes wants exactly one offer, at once.
func (w world) takes(a agent) api.Instruction {
	w.t.Helper()
	offers, err := w.Poll(w.t.Context(), a.Identity, 0, 16)
	if err != nil || len(offers) != 1 {
		w.t.Fatalf("poll = %+v, %v, want one offer", offers, err)
	}
	return offers[0]
}

func (w world) claims(a agent, i api.Instruction) {
	w.t.Helper()
	if _, err := w.Progress(w.t.Context(), a.Identity, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "b"}); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) reports(a agent, i api.Instruction, status api.InstructionStatus) error {
	_, err := w.Result(w.t.Context(), a.Identity, i.ID, api.Result{Status: status, Attempt: i.Attempt, Lease: i.Lease})
	return err
}

func (w world) read(f func(store.Reader) error) {
	w.t.Helper()
	if err := w.store.Org("default").View(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

// runsAre wants runs with these states, newest first.
func (w world) runsAre(want ...string) []store.Run {
	w.t.Helper()
	var runs []store.Run
	w.read(func(r store.Reader) (err error) {
		runs, err = r.Runs(store.RunQuery{})
		return err
	})
	var got []string
	for _, r := range runs {
		got = append(got, r.Status)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Fatalf("runs are %v, want %v", got, want)
	}
	return runs
}

func (w world) history(run api.RunID) string {
	w.t.Helper()
	var kinds []string
	w.read(func(r store.Reader) error {
		rows, err := r.History(run)
		for n, h := range rows {
			if h.Seq != n+1 {
				w.t.Errorf("row %d of the history has number %d", n, h.Seq)
			}
			kinds = append(kinds, h.Kind)
		}
		return err
	})
	return strings.Join(kinds, " ")
}

func (w world) wantCode(what string, err error, want api.Code) {
	w.t.Helper()
	if api.CodeOf(err) != want || err != nil && want == "" {
		w.t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func TestOfferThatIsNotTakenIsOfferedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		first := w.takes(a)
		if offers, err := w.Poll(t.Context(), b.Identity, leaseTTL-time.Second, 1); err != nil || len(offers) != 0 {
			t.Fatalf("offered %v, %v while another holds the lease", offers, err)
		}
		begin := time.Now()
		offers, err := w.Poll(t.Context(), b.Identity, time.Minute, 1) // waits for the reaper
		if err != nil || len(offers) != 1 || offers[0].Lease == first.Lease || offers[0].Attempt != 1 {
			t.Fatalf("poll = %+v, %v, want attempt 1 under another lease", offers, err)
		}
		if waited := time.Since(begin); waited > 2*time.Second {
			t.Errorf("offered again %s after the lease ended", waited)
		}
		_, err = w.Progress(t.Context(), a.Identity, first.ID, api.Progress{Status: api.Executing, Attempt: 1, Lease: first.Lease})
		w.wantCode("claim under the old lease", err, api.CodeNotFound)
	})
}

func TestAgentThatFallsSilentIsLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		for range 5 { // as long as it reports, it is not
			time.Sleep(leaseTTL - time.Second)
			w.claims(a, i)
		}
		w.runsAre("running")
		time.Sleep(leaseTTL + time.Second)
		run := w.runsAre("failed")[0]

		w.wantCode("the real result, late", w.reports(a, i, api.Completed), "")
		w.wantCode("the same again", w.reports(a, i, api.Completed), "")
		w.wantCode("another one", w.reports(a, i, api.Failed), api.CodeGone)
		if h := w.history(run.ID); !strings.HasSuffix(h, kindLateResult) {
			t.Errorf("history %s: the late result is not on record once", h)
		}
		w.runsAre("failed")
	})
}

func TestIdempotentStepRunsAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "h")
		w.apply(simple("", "    idempotent: true\n"))
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		time.Sleep(leaseTTL + time.Second)
		again := w.takes(b)
		if again.ID != i.ID || again.Attempt != 2 {
			t.Fatalf("offered %s attempt %d, want %s attempt 2", again.ID, again.Attempt, i.ID)
		}
		w.claims(b, again)
		w.wantCode("the result of the first attempt", w.reports(a, i, api.Completed), api.CodeNotFound)
		w.wantCode("the result of the second", w.reports(b, again, api.Completed), "")
		w.runsAre("completed")
	})
}

func TestNothingWaitsForEver(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted) // and there is no action agent
		time.Sleep(59 * time.Minute)
		w.runsAre("running")
		time.Sleep(2 * time.Minute)
		w.runsAre("failed")
	})
}

// TestReaperSleeps holds that nothing is asked of the store while nothing is due.
func TestReaperSleeps(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		w.claims(a, w.takes(a))
		synctest.Wait()
		before := w.reads.Load()
		time.Sleep(leaseTTL - time.Second)
		synctest.Wait()
		if reads := w.reads.Load() - before; reads != 0 {
			t.Errorf("%d looks at the store before anything was due", reads)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if reads := w.reads.Load() - before; reads > 5 {
			t.Errorf("%d looks at the store for one lease in a day", reads)
		}
		w.runsAre("failed")
	})
}

func TestCooldown(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("cooldown: 30m\n", ""))
		w.sends(s, event(1), api.EventAccepted)
		w.sends(s, event(2), api.EventAccepted) // while the first run goes on
		w.runsAre("running")
		i := w.takes(a)
		w.claims(a, i)
		w.wantCode("result", w.reports(a, i, api.Completed), "")
		time.Sleep(29 * time.Minute)
		w.sends(s, event(3), api.EventAccepted)
		w.runsAre("completed")
		time.Sleep(2 * time.Minute)
		w.sends(s, event(4), api.EventAccepted)
		w.runsAre("running", "completed")
	})
}

// A cooldown waits for no output: whoever is told of a run may be away for long.
func TestCooldownWhileAnOutputWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("cooldown: 10m\n", "") + "outputs: [{plugin: slack, agents: {ids: [office]}}]\n")
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		w.wantCode("result", w.reports(a, i, api.Completed), "")
		time.Sleep(9 * time.Minute)
		w.sends(s, event(2), api.EventAccepted)
		w.runsAre("completed")
		time.Sleep(2 * time.Minute)
		w.sends(s, event(3), api.EventAccepted)
		w.runsAre("running", "completed")
	})
}

// What is over is dropped as more comes, so keys that never come again do not pile up.
func TestCooldownsAreDropped(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("dedupe: {key: [event.data.mount], window: 1m}\n", ""))
		kept := func() (n int) {
			w.read(func(r store.Reader) (err error) {
				for seq := range 9 {
					_, some, failure := r.CooldownUntil("simple", duplicateKey(workflow.Decision{Duplicate: fmt.Sprintf(` "/%d"`, seq+1)}))
					if err = errors.Join(err, failure); some {
						n++
					}
				}
				return err
			})
			return n
		}
		for seq := range uint64(9) {
			w.sends(s, on(seq+1, fmt.Sprint("/", seq+1)), api.EventAccepted)
			if seq == 2 && kept() != 3 {
				t.Errorf("%d of 3 that are not over", kept())
			}
			if seq >= 2 {
				time.Sleep(2 * time.Minute)
			}
		}
		if n := kept(); n != 1 {
			t.Errorf("%d of 9 are kept, and one is not over", n)
		}
	})
}

func TestSameHostNeedsAHost(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", ""), w.enrol(api.Action, "a", "")
		w.apply(simple("", "    agents: {same_host: true}\n"))
		w.sends(s, event(1), api.EventAccepted)
		if offers, err := w.Poll(t.Context(), a.Identity, 0, 1); err != nil || len(offers) != 0 {
			t.Errorf("offered %+v, %v: an unknown host is not the same host", offers, err)
		}
		w.runsAre("failed")
	})
}

func TestHeartbeatCannotMoveAnAgent(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Version: "2"}); err != nil {
			t.Fatal(err)
		}
		w.read(func(r store.Reader) error {
			got, err := r.Agent("a")
			if got.Hostname != "h" || got.Version != "2" || got.Status != StatusOnline {
				t.Errorf("the record is %+v", got)
			}
			return err
		})
	})
}

func TestPluginThatArrivesWakesThePoll(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		beat := func(p ...api.PluginInfo) {
			if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Plugins: p}); err != nil {
				t.Error(err)
			}
		}
		beat(api.PluginInfo{ID: "other", Type: "action", State: "ready"})
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		go func() {
			time.Sleep(10 * time.Second)
			beat(api.PluginInfo{ID: "actor", Type: "action", State: "ready"})
		}()
		begin := time.Now()
		offers, err := w.Poll(t.Context(), a.Identity, time.Minute, 1)
		if took := time.Since(begin); err != nil || len(offers) != 1 || took > 11*time.Second {
			t.Errorf("poll = %+v, %v after %s, want the work when the plugin was there", offers, err, took)
		}
	})
}

func TestTokensEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		token, _, err := w.CreateToken(t.Context(), "default", TokenSpec{Type: api.Sensor})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(defaultTokenTTL + time.Second)
		key, err := pki.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Enroll(t.Context(), token, api.EnrollRequest{AgentID: "s", AgentType: api.Sensor, CSRPEM: csr(t, key)})
		w.wantCode("an hour later", err, api.CodeBadToken)
		for _, ttl := range []time.Duration{-time.Hour, time.Millisecond, MaxTokenTTL + time.Second} {
			_, _, err := w.CreateToken(t.Context(), "default", TokenSpec{Type: api.Sensor, TTL: ttl})
			w.wantCode("a token for "+ttl.String(), err, api.CodeInvalid)
		}
	})
}

func TestCertificateIsCheckedOnEveryRequest(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		admit := func() error {
			_, _, release, err := w.Admit(t.Context(), s.cert)
			if err == nil {
				release()
			}
			return err
		}
		w.wantCode("fresh", admit(), "")
		time.Sleep(90*24*time.Hour - time.Minute)
		w.wantCode("in its last minute", admit(), "")
		time.Sleep(2 * time.Minute)
		w.wantCode("after its end, on the same connection", admit(), api.CodeBadCertificate)
	})
}

func TestRunThatCannotGoOnIsEnded(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", "  - {id: ok, approval: {}}\n  - {id: wait, needs: [ok, act], wait_for: {event: x.y, within: 1h}}\n  - {id: wait2, wait_for: {event: x.y, within: 1h}}\n"))
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		run := w.runsAre("running")[0]
		err := w.update(t.Context(), "default", func(t *tx) error { // as a later release may find it
			run, err := t.Run(run.ID)
			run.State, run.Decoded = json.RawMessage(`{"state": {"format": 99}}`), nil
			return errors.Join(err, t.PutRun(run))
		})
		if err != nil {
			t.Fatal(err)
		}
		w.wantCode("the result is taken", w.reports(a, i, api.Completed), "")
		run = w.runsAre("failed")[0]
		if h := w.history(run.ID); !strings.HasSuffix(h, kindAbandoned) || run.FinishedAt.IsZero() {
			t.Errorf("the run ended at %s with the history %s", run.FinishedAt, h)
		}
		w.read(func(r store.Reader) error {
			waits, err := r.Waits()
			approvals, failure := r.Approvals()
			if len(waits)+len(approvals) > 0 {
				t.Errorf("left over are %+v and %+v", waits, approvals)
			}
			return errors.Join(err, failure)
		})
	})
}

func TestBatches(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		big := event(1)
		big.Events[0].Data = map[string]json.RawMessage{"x": json.RawMessage(`"` + strings.Repeat("x", api.MaxEventBytes) + `"`)}
		w.sends(s, big, api.EventRejected)
		w.sends(s, event(1), api.EventDuplicate) // its number is settled: it is not sent again
		known := event(2)
		known.Events = append(known.Events, event(3).Events...)
		known.Gaps = []api.Gap{{From: 4, To: 9, Count: 6, Reason: "spool_full"}}
		for range 2 {
			answer, err := w.Events(t.Context(), s.Identity, known)
			if err != nil || answer.AckedThrough != 9 {
				t.Errorf("events = %+v, %v, want 9 acknowledged", answer, err)
			}
		}
		plain := event(0)
		plain.Stream.Epoch = ""
		w.sends(s, plain, api.EventAccepted)
		w.sends(s, plain, api.EventDuplicate)
		renumbered := event(2)
		renumbered.Events[0].Seq = 10
		w.sends(s, renumbered, api.EventDuplicate)
		w.read(func(r store.Reader) error {
			stream, err := r.Stream("s", epoch)
			if want := (delivery.Tally{Stored: 2, Known: 1, Rejected: 1, Lost: 6}); stream.Tally != want || stream.Unaccounted() != 0 {
				t.Errorf("the stream counts %+v, want %+v", stream.Tally, want)
			}
			return err
		})
		w.read(func(r store.Reader) error {
			gaps, err := r.Gaps("s")
			events, eerr := r.Events(store.EventQuery{})
			if len(gaps) != 1 || gaps[0].Count != 6 || len(events) != 3 {
				t.Errorf("%d events and the gaps %+v, want 3 and one", len(events), gaps)
			}
			return errors.Join(err, eerr)
		})
		many := event(10)
		for len(many.Events) <= api.MaxBatchEvents {
			many.Events = append(many.Events, many.Events[0])
		}
		_, err := w.Events(t.Context(), s.Identity, many)
		w.wantCode("too many events", err, api.CodeTooLarge)
		_, err = w.Events(t.Context(), s.Identity, api.EventBatch{Stream: api.Stream{Epoch: "../x"}})
		w.wantCode("a bad epoch", err, api.CodeInvalid)
	})
}

func TestWorkflowVersions(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		ctx := t.Context()
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		if got, changed, err := w.Apply(ctx, "default", "x", []byte(simple("", ""))); err != nil || changed || got.Version != 1 {
			t.Errorf("the same text again = version %d, %v, %v", got.Version, changed, err)
		}
		w.sends(s, event(1), api.EventAccepted)
		if got, changed, err := w.Apply(ctx, "default", "x", []byte(simple("cooldown: 1m\n", ""))); err != nil || !changed || got.Version != 2 {
			t.Errorf("another text = version %d, %v, %v", got.Version, changed, err)
		}
		if run := w.runsAre("running")[0]; run.Version != 1 {
			t.Errorf("the run went to version %d", run.Version)
		}
		if err := w.Delete(ctx, "default", "simple"); err != nil {
			t.Fatal(err)
		}
		w.sends(s, event(2), api.EventAccepted)
		w.runsAre("running")
		if err := w.Delete(ctx, "default", "simple"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
		if got, _, err := w.Apply(ctx, "default", "x", []byte(simple("", ""))); err != nil || got.Version != 3 {
			t.Errorf("applied after it was deleted = version %d, %v", got.Version, err)
		}
		_, _, err := w.Apply(ctx, "default", "failing.yaml", []byte(simple("", "")+"tests: [{name: n, event: {type: other}, expect: {runs: true}}]\n"))
		w.wantCode("a test that fails", err, api.CodeInvalid)
		if now, _, err := w.Apply(ctx, "default", "x", []byte(simple("", ""))); err != nil || now.Version != 3 {
			t.Errorf("after a test that failed: version %d, %v", now.Version, err)
		}
		_, _, err = w.Apply(ctx, "default", "bad.yaml", []byte("name: x\nbogus: 1\n"))
		w.wantCode("a mistake", err, api.CodeInvalid)
		if err == nil || !strings.Contains(err.Error(), "bad.yaml:2:1") {
			t.Errorf("the mistake has no place: %v", err)
		}
	})
}

// doubtful is a store whose commits may or may not have happened.
type doubtful struct{ store.Store }

type doubtfulScope struct{ store.Scope }

func (d doubtful) Org(id api.OrgID) store.Scope { return doubtfulScope{d.Store.Org(id)} }

func (doubtfulScope) Update(context.Context, func(store.Tx) error) error {
	return fmt.Errorf("commit: %w", store.ErrUnknownOutcome)
}

func TestUnknownOutcomeEndsTheEngine(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		e := New(doubtful{w.store}, w.ca, Options{Logger: slog.New(slog.DiscardHandler)})
		ended := make(chan error, 1)
		go func() { ended <- e.Run(t.Context()) }()
		if _, _, err := e.CreateToken(t.Context(), "default", TokenSpec{Type: api.Sensor}); err == nil {
			t.Error("a token of a doubtful commit was given out")
		}
		if err := <-ended; !errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("Run = %v, want the unknown outcome", err)
		}
	})
}

// An event that cannot be read starts nothing, is told so, and begins no time in which others do not
// count.
func TestAnEventThatCannotBeRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("throttle: {first_in: 10m}\n", ""))
		odd := event(1)
		odd.Events[0].Data = map[string]json.RawMessage{"n": json.RawMessage("1e999")}
		w.sends(s, odd, api.EventAccepted)
		if d := w.evaluation("E1"); d.Run || !strings.Contains(d.Reason, "event.data.n") {
			t.Errorf("run: %v, since %q", d.Run, d.Reason)
		}
		w.sends(s, event(2), api.EventAccepted)
		w.runsAre("running")
	})
}
