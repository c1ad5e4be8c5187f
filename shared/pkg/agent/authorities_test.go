package agent

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// advised hands an answer of a heartbeat to the loop that heeds it.
func advised(t *testing.T, r *renewal, answer api.HeartbeatResponse) {
	t.Helper()
	r.rt.noteAdvice(answer)
	select {
	case <-r.rt.advised:
	default:
		t.Fatal("the loop that keeps the identity was not woken")
	}
	r.step(t.Context())
}

func bundleOf(cas ...*pkitest.Authority) string {
	var text string
	for _, ca := range cas {
		text += string(pkitest.PEM(ca.Cert))
	}
	return text
}

// The CAs that the orchestrator names are recorded, stored and in use, before and after it
// shows a certificate of the next one; the one that goes is dropped once nothing is vouched
// for by it.
func TestTheNextAuthorityIsTrustedInTime(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	audit := rt.Config().Security.Audit.File
	rt.openAudit()
	defer rt.closeAudit()
	if err := rt.beatOnce(t.Context()); err != nil { // so that the first vouches
		t.Fatal(err)
	}
	next := pkitest.New(t, "next")
	fingerprints := []string{pki.Fingerprint(i.ca.Cert), pki.Fingerprint(next.Cert)}

	advised(t, r, api.HeartbeatResponse{CAPEM: bundleOf(next)}) // even where the one in use was left out
	trusted := rt.identity.Trusted(nil)
	slices.Sort(trusted)
	slices.Sort(fingerprints)
	if !slices.Equal(trusted, fingerprints) {
		t.Fatalf("trusted %v, want %v\n%s", trusted, fingerprints, log)
	}
	if err := rt.beatOnce(t.Context()); err != nil {
		t.Fatalf("the server with its old certificate: %v", err)
	}
	if text, err := os.ReadFile(audit); err != nil || !strings.Contains(string(text), string(AuditTrusted)) || !strings.Contains(string(text), pki.Fingerprint(next.Cert)) {
		t.Errorf("not on record: %v\n%s", err, text)
	}

	moved := newIssuerOf(t, next, i.ca, time.Hour) // the server after the activation: another certificate, and old ones are good
	rt.Config().API.BaseURL = moved.URL
	var err error
	if rt.API, err = rt.connect(rt.identity); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.API.CloseIdle() })
	if err := rt.beatOnce(t.Context()); err != nil {
		t.Fatalf("the server with a certificate of the next CA: %v", err)
	}
	advised(t, r, api.HeartbeatResponse{CAPEM: bundleOf(next)})
	if trusted := rt.identity.Trusted(nil); !slices.Equal(trusted, []string{pki.Fingerprint(next.Cert)}) {
		t.Errorf("after the rotation trusted %v", trusted)
	}
	loaded, err := rt.loadIdentity()
	if err != nil || len(loaded.Trusted(nil)) != 1 {
		t.Errorf("stored: %v", err)
	}
	advised(t, r, api.HeartbeatResponse{CAPEM: bundleOf(next)})
	if text, _ := os.ReadFile(audit); strings.Count(string(text), string(AuditTrusted)) != 2 {
		t.Errorf("what changed nothing is on record again:\n%s", text)
	}
}

// What is no bundle of authorities changes nothing.
func TestWrongAuthoritiesChangeNothing(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, _ := i.connected()
	before := rt.identity.Trusted(nil)
	leaf := string(pkitest.PEM(i.ca.Sign(i.template(), pkitest.Key(t).Public())))
	for name, text := range map[string]string{
		"no PEM": "ca", "a leaf": leaf, "a leaf beside a CA": bundleOf(i.ca) + leaf, "too many": strings.Repeat(bundleOf(pkitest.New(t, "a")), 9),
		"a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		advised(t, r, api.HeartbeatResponse{CAPEM: text})
		if c := condition(rt, conditionTrust); c == nil || !slices.Equal(rt.identity.Trusted(nil), before) {
			t.Errorf("%s: trusted %v, condition %+v", name, rt.identity.Trusted(nil), c)
		}
	}
	advised(t, r, api.HeartbeatResponse{CAPEM: bundleOf(i.ca)})
	if c := condition(rt, conditionTrust); c != nil {
		t.Errorf("after a good one: %+v", c)
	}
}

// An authority that is not pinned is not one that this agent would connect to: it says so,
// and does not claim to trust it.
func TestAnUnpinnedAuthorityIsTold(t *testing.T) {
	i := newIssuer(t, time.Hour)
	pin := pki.Fingerprint(i.ca.Cert)
	rt, r, _ := i.connected("STAVILY_API_AUTH_PIN_SHA256=" + pin)
	advised(t, r, api.HeartbeatResponse{CAPEM: bundleOf(i.ca, pkitest.New(t, "next"))})
	if c := condition(rt, conditionTrust); c == nil || !strings.Contains(c.Remedy, "pin_sha256") {
		t.Errorf("condition %+v", c)
	}
	if told := rt.identity.Trusted(rt.tlsOptions().Pins); !slices.Equal(told, []string{pin}) {
		t.Errorf("claims to trust %v", told)
	}
}

// A certificate of a CA that goes is renewed at once, and only once.
func TestACertificateOfAnOldAuthorityIsRenewed(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	first := rt.identity.Leaf()
	r.schedule()
	i.set(func() { i.life += time.Minute })
	advised(t, r, api.HeartbeatResponse{RenewCertificate: true})
	if soon := time.Until(r.due); soon > 4*time.Minute {
		t.Fatalf("due in %v of an hour", soon)
	}
	due := r.due
	advised(t, r, api.HeartbeatResponse{RenewCertificate: true})
	if !r.due.Equal(due) {
		t.Error("each heartbeat puts the renewal off")
	}
	r.due = time.Now()
	r.step(t.Context())
	if rt.identity.Leaf().Equal(first) {
		t.Errorf("not renewed:\n%s", log)
	}
}
