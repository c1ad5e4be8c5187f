package engine

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// admits is what an agent that shows a certificate is told.
func (w world) admits(cert *x509.Certificate) error {
	_, _, release, err := w.Admit(w.t.Context(), cert)
	if err == nil {
		release()
	}
	return err
}

// audit lists the records of an action.
func (w world) audit(action string) (found []store.Audit) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		all, err := r.Audit(0, 1000)
		for _, a := range all {
			if a.Action == action {
				found = append(found, a)
			}
		}
		return err
	})
	return found
}

func TestTokenOrg(t *testing.T) {
	for _, org := range []api.OrgID{"default", "a_b", "x.y-z", "svt_"} {
		token := newToken(org)
		if got, ok := tokenOrg(token); !ok || got != org {
			t.Errorf("tokenOrg(%q) = %q, %v, want %q", token, got, ok, org)
		}
	}
	if first, next := newToken("default"), newToken("default"); first == next {
		t.Error("two tokens are equal")
	}
}

func FuzzTokenOrg(f *testing.F) {
	for _, seed := range []string{"", "svt_", "svt__", "svt_default_x", newToken("a_b"), "svt_../x_y", "SVT_default_x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		org, ok := tokenOrg(token)
		if ok && (org.Validate() != nil || !strings.HasPrefix(token, tokenPrefix+string(org)+"_")) {
			t.Errorf("tokenOrg(%q) = %q", token, org)
		}
	})
}

func TestEnrolmentThatIsNotValid(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		token, _, err := w.CreateToken(t.Context(), "default", TokenSpec{Type: api.Sensor})
		if err != nil {
			t.Fatal(err)
		}
		key, err := pki.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		good := api.EnrollRequest{AgentID: "s", AgentType: api.Sensor, CSRPEM: csr(t, key)}
		for what, change := range map[string]func(*api.EnrollRequest){
			"no id":             func(r *api.EnrollRequest) { r.AgentID = "" },
			"an id with a path": func(r *api.EnrollRequest) { r.AgentID = "a/../b" },
			"no type":           func(r *api.EnrollRequest) { r.AgentType = "" },
			"no request":        func(r *api.EnrollRequest) { r.CSRPEM = "" },
			"a damaged request": func(r *api.EnrollRequest) { r.CSRPEM = strings.Replace(r.CSRPEM, "A", "B", 5) },
			"a weak key":        func(r *api.EnrollRequest) { r.CSRPEM = weakCSR(t) },
			"a long name":       func(r *api.EnrollRequest) { r.Name = strings.Repeat("x", maxText+1) },
			"many tags":         func(r *api.EnrollRequest) { r.Tags = make([]string, maxTags+1) },
		} {
			r := good
			change(&r)
			_, err := w.Enroll(t.Context(), token, r)
			w.wantCode(what, err, api.CodeInvalid)
		}
		_, err = w.Enroll(t.Context(), token, good)
		w.wantCode("the token after all that", err, "")
	})
}

func weakCSR(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// TestStolenTokenIsOnRecord holds that whoever comes second with a token is noticed,
// and that guessing tokens leaves nothing.
func TestStolenTokenIsOnRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		token, _, err := w.CreateToken(t.Context(), "default", TokenSpec{Type: api.Sensor})
		if err != nil {
			t.Fatal(err)
		}
		enrol := func(token string, id api.AgentID) error {
			key, err := pki.GenerateKey()
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Enroll(t.Context(), token, api.EnrollRequest{AgentID: id, AgentType: api.Sensor, CSRPEM: csr(t, key)})
			return err
		}
		w.wantCode("the first", enrol(token, "s"), "")
		w.wantCode("a thief", enrol(token, "thief"), api.CodeBadToken)
		w.wantCode("a guess", enrol("svt_default_guess", "thief"), api.CodeBadToken)
		if found := w.audit("refused"); len(found) != 1 || found[0].Actor != "agent thief" || !strings.Contains(found[0].Detail, "bad_token") {
			t.Errorf("on record: %+v, want the thief once", found)
		}
		if found := w.audit("agent.enroll"); len(found) != 1 || strings.Contains(fmt.Sprint(found), token) {
			t.Errorf("on record: %+v, want the first enrolment, without the token", found)
		}
	})
}

// A certificate that was renewed away is refused; where it goes on being used, two have the
// agent's keys, and both are shut out until it is enrolled anew.
func TestCopiedCertificateShutsBothOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		old := w.enrol(api.Sensor, "s", "h")
		answer, err := w.Renew(t.Context(), old.Identity, api.CertificateRequest{CSRPEM: csr(t, old.key)})
		if err != nil {
			t.Fatal(err)
		}
		renewed := certificate(t, answer.CertificatePEM)
		waits, _, release, err := w.Admit(t.Context(), renewed)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		w.wantCode("the old one, of a call under way", w.admits(old.cert), api.CodeBadCertificate)
		if found := w.audit("refused"); len(found) != 0 {
			t.Errorf("a call that the new certificate overtook is an alarm: %+v", found)
		}
		time.Sleep(retireGrace)
		for range 3 {
			w.wantCode("the old one, held up", w.admits(old.cert), api.CodeBadCertificate)
		}
		w.wantCode("the new one", w.admits(renewed), "")
		if refused, revoked := w.audit("refused"), w.audit("agent.revoke"); len(refused) != 1 || len(revoked) != 0 {
			t.Errorf("after a call that was held up %d refusals and %d revocations are on record, want 1 and 0", len(refused), len(revoked))
		}
		time.Sleep(retireGrace)
		w.wantCode("the old one again", w.admits(old.cert), api.CodeRevoked)
		w.wantCode("the new one", w.admits(renewed), api.CodeRevoked)
		w.wantCode("a request that waits", context.Cause(waits), api.CodeRevoked)
		if revoked := w.audit("agent.revoke"); len(revoked) != 1 || !strings.Contains(revoked[0].Detail, ca.Serial(old.cert)) {
			t.Errorf("on record is %+v", revoked)
		}
	})
}

// Who goes on with the certificate of a host that was replaced shuts nobody out. It is on
// record once a minute.
func TestReplacedHostShutsNobodyOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		old := w.enrol(api.Sensor, "s", "h")
		replaced := w.enrol(api.Sensor, "s", "h")
		for minute := range 3 {
			for range 3 {
				w.wantCode("the old host", w.admits(old.cert), api.CodeBadCertificate)
				time.Sleep(retireGrace)
			}
			if found := w.audit("refused"); len(found) != minute+1 {
				t.Errorf("on record %d times in minute %d", len(found), minute)
			}
			time.Sleep(refusalPause)
		}
		w.wantCode("the new host", w.admits(replaced.cert), "")
	})
}

// A renewal whose answer is lost is asked for again and gets the same certificate, but
// not one that is as good as over by then.
func TestRenewalThatIsAskedForAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		old := w.enrol(api.Sensor, "s", "h")
		renew := func() string {
			answer, err := w.Renew(t.Context(), old.Identity, api.CertificateRequest{CSRPEM: csr(t, old.key)})
			if err != nil {
				t.Fatal(err)
			}
			return answer.CertificatePEM
		}
		first := renew()
		time.Sleep(ca.DefaultLifetime / 2)
		if renew() != first {
			t.Error("the same request got another certificate")
		}
		time.Sleep(ca.DefaultLifetime / 3)
		if renew() == first {
			t.Error("the certificate is due for renewal itself and was given again")
		}
	})
}

// hanging is a store whose views take until they are given up.
type hanging struct{ store.Store }

type hangingScope struct{ store.Scope }

func (h hanging) Org(id api.OrgID) store.Scope { return hangingScope{h.Store.Org(id)} }

func (hangingScope) View(ctx context.Context, _ func(store.Reader) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// A request that is being admitted while its agent is revoked hears that, and not that
// somebody gave up.
func TestRevocationDuringAdmission(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		e := New(hanging{w.store}, w.ca, Options{Logger: slog.New(slog.DiscardHandler)})
		admitted := make(chan error, 1)
		go func() {
			_, _, _, err := e.Admit(t.Context(), a.cert)
			admitted <- err
		}()
		synctest.Wait()
		e.end(agentKey{a.Org, a.Agent}, revoked(store.Agent{ID: a.Agent}))
		w.wantCode("the request", <-admitted, api.CodeRevoked)
	})
}

// TestRevocationMissesNobody revokes while requests come in: whoever was admitted is
// ended, whoever comes later is refused, and nobody is in between.
func TestRevocationMissesNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for range 50 {
			wg.Go(func() {
				<-begin
				ctx, _, release, err := w.Admit(t.Context(), a.cert)
				if err == nil {
					<-ctx.Done() // for ever, if it was missed: the bubble would say so
					err = context.Cause(ctx)
					release()
				}
				w.wantCode("a request", err, api.CodeRevoked)
			})
		}
		close(begin)
		if err := w.Revoke(t.Context(), "default", "a", "test"); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := w.Revoke(t.Context(), "default", "a", "again"); err != nil {
			t.Errorf("revoked twice: %v", err)
		}
		if found := w.audit("agent.revoke"); len(found) != 1 {
			t.Errorf("on record %d times, want once", len(found))
		}
		if err := w.Revoke(t.Context(), "default", "nobody", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nobody revoked: %v, want not found", err)
		}
	})
}

func TestLastSeenIsWrittenAtItsResolution(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Sensor, "s", "h")
		seen := func() (at time.Time) {
			_, _, release, err := w.Admit(t.Context(), a.cert)
			if err != nil {
				t.Fatal(err)
			}
			release()
			if err := w.flushHeard(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			w.read(func(r store.Reader) error {
				rec, err := r.Agent("s")
				at = rec.LastSeen
				return err
			})
			return at
		}
		first := seen()
		time.Sleep(seenResolution / 2)
		if got := seen(); !got.Equal(first) {
			t.Errorf("written again after %s", got.Sub(first))
		}
		time.Sleep(seenResolution)
		if got := seen(); time.Since(got) != 0 {
			t.Errorf("%s old", time.Since(got))
		}
	})
}
