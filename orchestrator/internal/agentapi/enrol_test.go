package agentapi_test

import (
	"crypto"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// enrols checks the class of the error of one enrolment; "" is success.
func enrols(t *testing.T, s *servertest.Server, what string, token operatorapi.NewToken, id api.AgentID, key crypto.Signer, want api.Code) api.EnrollResponse {
	t.Helper()
	answer, err := s.EnrolWith(token, id, key, "host-a")
	if got := api.CodeOf(err); got != want || err != nil && want == "" {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
	return answer
}

func TestTokenIsForOneKey(t *testing.T) {
	s := servertest.Start(t)
	token, key := s.Token(api.Action, ""), newKey(t)
	first := enrols(t, s, "first use", token, "web-01", key, "")
	again := enrols(t, s, "the same again, for its answer was lost", token, "web-01", key, "")
	if first != again {
		t.Error("the repeat got another certificate")
	}
	enrols(t, s, "another key", token, "web-01", newKey(t), api.CodeBadToken)
	enrols(t, s, "another agent", token, "web-02", key, api.CodeBadToken)
}

func TestTokenIsBound(t *testing.T) {
	s := servertest.Start(t)
	sensors := s.Token(api.Sensor, "web-01")
	enrols(t, s, "another id", sensors, "web-02", newKey(t), api.CodeBadToken)
	actions := sensors
	actions.AgentType = api.Action // asks for more than the token was made for
	enrols(t, s, "another type", actions, "web-01", newKey(t), api.CodeBadToken)
	enrols(t, s, "as made", sensors, "web-01", newKey(t), "")
	for _, text := range []string{"svt_", "svt_default_wrong", "svt_other_" + sensors.Token[12:], sensors.Token[1:], strings.ToUpper(sensors.Token)} {
		wrong := sensors
		wrong.Token = text
		enrols(t, s, "token "+text, wrong, "web-01", newKey(t), api.CodeBadToken)
	}
}

func TestIDIsTakenOnce(t *testing.T) {
	s := servertest.Start(t)
	before := s.Enrol(api.Action, "web-01", "host-a")
	enrols(t, s, "an id that is taken", s.Token(api.Action, ""), "web-01", newKey(t), api.CodeConflict)
	if _, err := before.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Errorf("the agent after somebody else tried: %v", err)
	}
	after := s.Enrol(api.Action, "web-01", "host-b") // its token is made for that id
	if _, err := before.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); api.CodeOf(err) != api.CodeBadCertificate {
		t.Errorf("the agent that was replaced: %v, want bad_certificate", err)
	}
	if _, err := after.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Errorf("the agent that replaced it: %v", err)
	}
}

// TestCertificateIgnoresTheRequest asks for another name than it enrols under: the
// certificate says what the orchestrator decided.
func TestCertificateIgnoresTheRequest(t *testing.T) {
	s := servertest.Start(t)
	token, key := s.Token(api.Sensor, ""), newKey(t)
	csr, err := pki.NewCSR(key, "admin")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.EnrolRequest(token, api.EnrollRequest{AgentID: "web-01", AgentType: api.Sensor, CSRPEM: string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.ParseIdentity(certs[0])
	if err != nil || id.Agent != "web-01" || strings.Contains(certs[0].Subject.String(), "admin") {
		t.Errorf("identity %v (%s), %v: want web-01", id, certs[0].Subject, err)
	}
}

// TestRenewal goes through both phases: the old certificate is good until the new one
// is used, so that a lost answer strands nobody, and never after.
func TestRenewal(t *testing.T) {
	s := servertest.Start(t)
	old := s.Enrol(api.Sensor, "web-01", "host-a")
	alive := func(a *servertest.Agent, want api.Code) {
		t.Helper()
		_, err := a.Heartbeat(t.Context(), api.Heartbeat{Status: "online"})
		if got := api.CodeOf(err); got != want || err != nil && want == "" {
			t.Errorf("heartbeat: %v, want %q", err, want)
		}
	}
	key := newKey(t)
	csr, err := pki.NewCSR(key, "web-01")
	if err != nil {
		t.Fatal(err)
	}
	lost, err := old.Renew(t.Context(), api.CertificateRequest{CSRPEM: string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	alive(old, "")
	answer, err := old.Renew(t.Context(), api.CertificateRequest{CSRPEM: string(csr)})
	if err != nil || answer != lost {
		t.Fatalf("the same renewal again: %v, or another certificate", err)
	}
	renewed := s.Connect("web-01", key, answer)
	alive(renewed, "")
	alive(old, api.CodeBadCertificate)
	alive(renewed, "")
}

func TestPinnedFingerprint(t *testing.T) {
	s := servertest.Start(t)
	token := s.Token(api.Sensor, "")
	token.CAFingerprint = "sha256:" + strings.Repeat("0", 64)
	if _, err := s.EnrolWith(token, "web-01", newKey(t), "a"); err == nil || api.CodeOf(err) != "" {
		t.Errorf("enrolment with another CA's fingerprint: %v, want no answer at all", err)
	}
}
