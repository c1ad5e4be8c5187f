package engine

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// afterTheEnd is a world in which certificates live for an hour and can be renewed for another one.
func afterTheEnd(t *testing.T, f func(t *testing.T, w world)) {
	t.Helper()
	inWorldOf(t, time.Hour, func(t *testing.T, w world) {
		w.grace = time.Hour
		f(t, w)
	})
}

// ends lets a certificate end, and a time pass.
func ends(cert *x509.Certificate, ago time.Duration) {
	time.Sleep(time.Until(cert.NotAfter) + ago)
}

// late is what an agent that shows a certificate for a late renewal is told.
func (w world) late(cert *x509.Certificate) error {
	w.t.Helper()
	late, _, err := w.AdmitLate(w.t.Context(), cert)
	if !late {
		w.t.Error("a certificate that has ended is taken for one in its time")
	}
	return err
}

// renewsLate admits a certificate that has ended and renews it.
func (w world) renewsLate(a agent) agent {
	w.t.Helper()
	w.wantCode("a late renewal", w.late(a.cert), "")
	answer, err := w.RenewLate(w.t.Context(), a.Identity, ca.Serial(a.cert), api.CertificateRequest{CSRPEM: csr(w.t, a.key)})
	if err != nil {
		w.t.Fatal(err)
	}
	a.cert = certificate(w.t, answer.CertificatePEM)
	return a
}

func (w world) record(id api.AgentID) (a store.Agent) {
	w.t.Helper()
	w.read(func(r store.Reader) (err error) {
		a, err = r.Agent(id)
		return err
	})
	return a
}

func TestLateRenewal(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		if late, _, err := w.AdmitLate(t.Context(), s.cert); late || err != nil {
			t.Errorf("a certificate in its time is late: %v, %v", late, err)
		}
		waits, _, release, err := w.Admit(t.Context(), s.cert)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		ends(s.cert, time.Minute)
		renewed := w.renewsLate(s)
		w.wantCode("a request that waits", context.Cause(waits), api.CodeQuarantined)
		if again := w.renewsLate(s); !again.cert.Equal(renewed.cert) { // for its answer was lost
			t.Error("the same renewal again got another certificate")
		}
		for range 2 {
			w.wantCode("the new certificate", w.admits(renewed.cert), api.CodeQuarantined)
		}
		w.wantCode("the old one", w.late(s.cert), api.CodeBadCertificate)
		if got := w.record("s"); got.Serial != ca.Serial(renewed.cert) || got.State != store.Quarantined || !got.LastSeen.Equal(w.now()) {
			t.Errorf("the record is %+v: want the new certificate, seen now, in quarantine", got)
		}
		_, err = w.Renew(t.Context(), s.Identity, api.CertificateRequest{CSRPEM: csr(t, w.enrol(api.Sensor, "other", "h").key)})
		w.wantCode("a plain renewal out of quarantine", err, api.CodeQuarantined)

		w.wantCode("approved with another certificate", w.LetIn(t.Context(), "default", "s", ca.Serial(s.cert)), api.CodeConflict)
		w.wantCode("approval of one that is not in quarantine", w.LetIn(t.Context(), "default", "a", ca.Serial(a.cert)), api.CodeConflict)
		w.wantCode("still", w.admits(renewed.cert), api.CodeQuarantined)
		w.wantCode("approved", w.LetIn(t.Context(), "default", "s", ca.Serial(renewed.cert)), "")
		w.wantCode("after that", w.admits(renewed.cert), "")
		var trail []string
		for _, action := range []string{"certificate.renew", "agent.quarantine", "certificate.activate", "agent.approve"} {
			for _, row := range w.audit(action) {
				trail = append(trail, row.Action+" by "+row.Actor)
			}
		}
		want := "certificate.renew by agent s, agent.quarantine by agent s, certificate.activate by agent s, agent.approve by operator"
		if got := strings.Join(trail, ", "); got != want {
			t.Errorf("on record is %s, want %s", got, want)
		}
	})
}

// What is no good in its time is none after it.
func TestLateRenewalsThatAreRefused(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		current, gone, moved, tokens := w.enrol(api.Sensor, "current", "h"), w.enrol(api.Sensor, "gone", "h"), w.enrol(api.Sensor, "moved", "h"), w.enrol(api.Sensor, "tokens", "h")
		if err := w.Revoke(t.Context(), "default", "gone", "stolen"); err != nil {
			t.Fatal(err)
		}
		if err := w.update(t.Context(), "default", func(tx *tx) error {
			a, err := tx.Agent("tokens")
			if err != nil {
				return err
			}
			a.TokensFrom = tx.now
			return tx.PutAgent(a)
		}); err != nil {
			t.Fatal(err)
		}
		w.enrol(api.Action, "moved", "h")
		ends(current.cert, time.Minute)
		other := current
		other.cert = certificateOf(t, w, pki.Identity{Org: "default", Type: api.Action, Agent: "current"})
		ghost := certificateOf(t, w, pki.Identity{Org: "default", Type: api.Sensor, Agent: "ghost"})
		w.wantCode("revoked", w.late(gone.cert), api.CodeRevoked)
		w.wantCode("enrolled again as another type", w.late(moved.cert), api.CodeBadCertificate)
		w.wantCode("an agent that comes with tokens", w.late(tokens.cert), api.CodeBadCertificate)
		ends(other.cert, time.Minute)
		w.wantCode("another type", w.late(other.cert), api.CodeBadCertificate)
		w.wantCode("nobody", w.late(ghost), api.CodeBadCertificate)
		w.wantCode("after the grace", w.late(current.cert), api.CodeBadCertificate)
		for _, id := range []api.AgentID{"current", "moved", "tokens"} {
			if a := w.record(id); a.State != store.Active {
				t.Errorf("agent %s is %s by what was refused", id, a.State)
			}
		}
	})
}

// certificateOf has the CA sign what no enrolment asked for.
func certificateOf(t *testing.T, w world, id pki.Identity) *x509.Certificate {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.ca.Issue(id, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, issued.PEM)
}

// A CA that may have been stolen vouches for no past either.
func TestLateRenewalWithATaintedAuthority(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		ends(s.cert, time.Minute)
		for _, step := range []string{ca.StepPrepare, ca.StepActivate} {
			if err := w.ca.Take(step); err != nil {
				t.Fatal(err)
			}
			w.wantCode("after "+step, w.late(s.cert), "")
		}
		if err := w.ca.Take(ca.StepTaint); err != nil {
			t.Fatal(err)
		}
		w.wantCode("of a tainted authority", w.late(s.cert), api.CodeBadCertificate)
	})
}

// Two that have the keys of an agent that was away: one is let in by mistake, the other one comes
// with what was replaced, and goes on. Nothing tells which of them is the agent.
func TestLateRenewalOfACopy(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		ends(s.cert, time.Minute)
		thief := w.renewsLate(s)
		w.wantCode("the thief, in quarantine", w.admits(thief.cert), api.CodeQuarantined)
		w.wantCode("approved by mistake", w.LetIn(t.Context(), "default", "s", ca.Serial(thief.cert)), "")
		time.Sleep(10 * time.Minute)
		w.wantCode("the agent", w.late(s.cert), api.CodeBadCertificate)
		w.wantCode("the thief", w.admits(thief.cert), "")
		time.Sleep(retireGrace)
		w.wantCode("the agent, which goes on", w.late(s.cert), api.CodeRevoked)
		w.wantCode("the thief", w.admits(thief.cert), api.CodeRevoked)
	})
}

// One that asks with another key while an approval is under way is not let in by it.
func TestApprovalIsOfTheCertificateThatWasSeen(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		ends(s.cert, time.Minute)
		seen := w.renewsLate(s)
		copied := s
		copied.key = w.enrol(api.Sensor, "thief", "h").key
		w.renewsLate(copied)
		w.wantCode("approval of the first", w.LetIn(t.Context(), "default", "s", ca.Serial(seen.cert)), api.CodeConflict)
		if a := w.record("s"); a.State != store.Quarantined {
			t.Errorf("the agent is %s", a.State)
		}
	})
}

// A certificate that was stored and had not been used when it ended is renewed too.
func TestLateRenewalOfAnUnusedCertificate(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		answer, err := w.Renew(t.Context(), s.Identity, api.CertificateRequest{CSRPEM: csr(t, s.key)})
		if err != nil {
			t.Fatal(err)
		}
		s.cert = certificate(t, answer.CertificatePEM)
		ends(s.cert, time.Minute)
		renewed := w.renewsLate(s)
		again := s
		again.key = w.enrol(api.Sensor, "other", "h").key // it forgot the key with which it had asked
		renewed = w.renewsLate(again)
		w.wantCode("what it got", w.admits(renewed.cert), api.CodeQuarantined)
	})
}

// An agent in quarantine is seen, and not back: workflows hear of it when it is let in.
func TestQuarantineIsNoReturn(t *testing.T) {
	afterTheEnd(t, func(t *testing.T, w world) {
		w.apply(onConditions)
		a1, s1 := w.enrol(api.Action, "a1", "h"), w.enrol(api.Sensor, "s1", "h")
		w.lives(5*time.Minute, a1, s1)
		ends(s1.cert, time.Hour)
		before := w.told()
		if !strings.Contains(before, "lost s1") {
			t.Fatalf("told was %q, want that s1 is lost", before)
		}
		s1 = w.renewsLate(s1)
		for range 10 {
			w.wantCode("in quarantine", w.admits(s1.cert), api.CodeQuarantined)
			time.Sleep(time.Minute)
		}
		if got := w.told(); got != before {
			t.Errorf("told was %q, and now %q", before, got)
		}
		w.wantCode("approved", w.LetIn(t.Context(), "default", "s1", ca.Serial(s1.cert)), "")
		w.wantCode("after that", w.admits(s1.cert), "")
		if got := w.told(); !strings.Contains(got, "returned s1") {
			t.Errorf("told was %q, want that s1 is back", got)
		}
	})
}
