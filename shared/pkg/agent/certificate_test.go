package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// issuer is an orchestrator that renews as ours does: the old certificate is good until
// the new one is first used, and the same key gets the same one again.
type issuer struct {
	*httptest.Server
	t  *testing.T
	ca *pkitest.Authority

	mu      sync.Mutex
	life    time.Duration
	spent   time.Duration // of the life of a certificate when it is issued, besides a tenth
	current string        // serial that is good
	next    *x509.Certificate
	key     string // hash of the key that next is for
	asked   int
	lose    int // of the next answers
	refuse  *api.Error
	beats   int

	meanwhile func() // happens while a renewal is answered
}

func newIssuer(t *testing.T, life time.Duration) *issuer {
	ca := pkitest.New(t, "ca")
	return newIssuerOf(t, ca, ca, life)
}

// newIssuerOf shows a certificate of one CA, and knows agents of another.
func newIssuerOf(t *testing.T, server, agents *pkitest.Authority, life time.Duration) *issuer {
	i := &issuer{t: t, ca: agents, life: life}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathCertificate, i.renew)
	mux.HandleFunc("POST "+api.PathHeartbeat, i.heartbeat)
	i.Server = httptest.NewUnstartedServer(mux)
	cert := server.Issue(pkitest.Server())
	i.TLS = i.ca.ServerTLS(cert)
	i.TLS.Certificates = []tls.Certificate{cert}
	i.EnableHTTP2 = true
	i.StartTLS()
	t.Cleanup(func() { i.CloseClientConnections(); i.Close() })
	return i
}

func (i *issuer) template() *x509.Certificate {
	return pkitest.Valid(pkitest.Agent("spiffe://stavily/org/acme/sensor/web-01"), -i.life/10-i.spent, i.life)
}

// admit is called with mu held.
func (i *issuer) admit(w http.ResponseWriter, r *http.Request) bool {
	serial := r.TLS.PeerCertificates[0].SerialNumber.String()
	if i.next != nil && serial == i.next.SerialNumber.String() {
		i.current, i.next = serial, nil
	}
	if i.current != "" && serial != i.current {
		i.answer(w, api.Errorf(api.CodeBadCertificate, "superseded"))
		return false
	}
	i.current = serial
	return true
}

func (i *issuer) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if e, ok := v.(*api.Error); ok {
		w.WriteHeader(e.Status())
		v = api.ErrorBody{Error: e}
	}
	_ = json.NewEncoder(w).Encode(v)
}

func (i *issuer) heartbeat(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.admit(w, r) {
		i.beats++
		i.answer(w, api.HeartbeatResponse{ServerTime: api.At(time.Now())})
	}
}

func (i *issuer) renew(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.admit(w, r) {
		return
	}
	i.asked++
	var request api.CertificateRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		i.t.Error(err)
	}
	csr, err := pki.ParseCSR([]byte(request.CSRPEM))
	if err != nil {
		i.t.Error(err)
		return
	}
	hash, err := pki.KeyHash(csr.PublicKey)
	if err != nil {
		i.t.Error(err)
	}
	if i.refuse != nil {
		i.answer(w, i.refuse)
		return
	}
	if i.next == nil || i.key != hash {
		i.next, i.key = i.ca.Sign(i.template(), csr.PublicKey), hash
	}
	if i.lose > 0 {
		i.lose--
		panic(http.ErrAbortHandler)
	}
	if i.meanwhile != nil {
		i.meanwhile()
	}
	i.answer(w, api.EnrollResponse{AgentID: "web-01", OrganizationID: "acme", CertificatePEM: string(pkitest.PEM(i.next)), CAPEM: string(pkitest.PEM(i.ca.Cert))})
}

// set changes how the issuer behaves.
func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// connected is an agent with a certificate of the issuer, and its renewal.
func (i *issuer) connected(environ ...string) (*Runtime, *renewal, *lines) {
	i.t.Helper()
	rt, log := testRuntime(i.t, api.Sensor, append(environ, "STAVILY_API_BASE_URL="+i.URL, "STAVILY_API_RETRY_INITIAL_INTERVAL=10ms", "STAVILY_API_RETRY_MAX_INTERVAL=20ms")...)
	i.enrol(rt)
	var err error
	if rt.identity, err = rt.loadIdentity(); err != nil {
		i.t.Fatal(err)
	}
	if rt.API, err = rt.connect(rt.identity); err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(rt.API.CloseIdle)
	return rt, newRenewal(rt), log
}

func (i *issuer) enrol(rt *Runtime) {
	i.t.Helper()
	key := pkitest.Key(i.t)
	if err := pki.SaveCredentials(credentialFiles(rt.Config().API.Auth), key, pkitest.PEM(i.ca.Sign(i.template(), key.Public())), pkitest.PEM(i.ca.Cert)); err != nil {
		i.t.Fatal(err)
	}
}

func (rt *Runtime) beatOnce(ctx context.Context) error {
	_, err := rt.API.Heartbeat(ctx, api.Heartbeat{Timestamp: api.At(time.Now()), Status: "online"})
	return err
}

// The next certificate has another key, is stored and in use at once, and the old one is
// not needed again; a call that was refused because of the change is made again.
func TestRenewal(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	if err := rt.beatOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := rt.identity.Leaf()
	if wait := r.step(t.Context()); wait <= 0 || wait > renewalLook {
		t.Errorf("of a new certificate: looks again after %v", wait)
	}
	life := first.NotAfter.Sub(first.NotBefore)
	if latest := first.NotBefore.Add(life * 2 / 3); r.due.After(latest.Add(time.Second)) || r.due.Before(latest.Add(-life/20-time.Second)) {
		t.Errorf("due %v of %v after its beginning, want up to a twentieth before two thirds", r.due.Sub(first.NotBefore), life)
	}
	r.due = time.Now()
	i.set(func() { i.life += time.Minute }) // that no time has passed is no matter
	if wait := r.step(t.Context()); wait != 0 {
		t.Fatalf("pause of %v after a renewal:\n%s", wait, log)
	}
	second := rt.identity.Leaf()
	if bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("the renewed certificate is for the old key")
	}
	if err := rt.beatOnce(t.Context()); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
	if i.current != second.SerialNumber.String() {
		t.Error("the new certificate is not in use")
	}
	loaded, err := rt.loadIdentity()
	if err != nil || !loaded.Leaf().Equal(second) {
		t.Errorf("stored: %v, or another certificate", err)
	}
	if i.asked != 1 || condition(rt, conditionRenewal) != nil {
		t.Errorf("asked %d times; %+v", i.asked, condition(rt, conditionRenewal))
	}
}

// A lost answer leaves the agent with a certificate that works, and the same request
// gets the answer again.
func TestALostRenewalIsRepeated(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	first := rt.identity.Leaf()
	r.schedule()
	r.due = time.Now()
	i.set(func() { i.lose, i.life = 2, i.life+time.Minute })
	for range 2 {
		if wait := r.step(t.Context()); wait < renewalFloor {
			t.Fatalf("pause of %v after a lost answer", wait)
		}
		if err := rt.beatOnce(t.Context()); err != nil {
			t.Errorf("the old certificate after a lost answer: %v", err)
		}
		if c := condition(rt, conditionRenewal); c == nil || c.Status != string(Degraded) || !strings.Contains(c.Message, "could not be renewed") {
			t.Errorf("condition %+v", c)
		}
	}
	issued := i.next
	if wait := r.step(t.Context()); wait != 0 || i.asked != 3 {
		t.Fatalf("pause of %v after %d requests:\n%s", wait, i.asked, log)
	}
	if got := rt.identity.Leaf(); got.Equal(first) || !got.Equal(issued) {
		t.Error("the repeat got another certificate than the lost answer had")
	}
	if r.step(t.Context()); condition(rt, conditionRenewal) != nil {
		t.Error("the condition holds after the renewal")
	}
}

// One that fails tells so, and again as the end comes near; each mark once, over a
// restart as well.
func TestTheEndOfTheCertificateIsTold(t *testing.T) {
	i := newIssuer(t, 90*day)
	i.refuse = api.Errorf(api.CodeUnavailable, "later")
	rt, r, _ := i.connected()
	var told []api.Event
	rt.TakeEvents(func(_ context.Context, e api.Event) error {
		told = append(told, e)
		return nil
	})
	r.schedule()
	r.due = time.Now()
	for _, left := range []time.Duration{31 * day, 30 * day, 29 * day, 13 * day, 12 * day, 6 * day, day, time.Hour} {
		r.warn(t.Context(), i.refuse, left)
	}
	newRenewalLike(r).warn(t.Context(), i.refuse, time.Minute) // after a restart
	var days []string
	for _, e := range told {
		days = append(days, string(e.Data["days"])+" "+string(e.Severity))
		if e.Type != EventExpiring || e.Source != "sensor-agent" || !strings.Contains(string(e.Data["reason"]), "later") || e.Key == "" {
			t.Errorf("event %+v", e)
		}
	}
	if want := []string{"30 low", "14 medium", "7 high", "1 critical"}; !slices.Equal(days, want) {
		t.Errorf("told of %q, want %q", days, want)
	}
	// A renewal that works tells nothing, and one of a short life has no such marks.
	short := newIssuer(t, time.Hour)
	short.refuse = i.refuse
	rt2, r2, _ := short.connected()
	rt2.TakeEvents(func(_ context.Context, e api.Event) error { t.Errorf("told of an hour: %+v", e); return nil })
	r2.schedule()
	r2.due = time.Now()
	r2.step(t.Context())
}

func newRenewalLike(r *renewal) *renewal {
	return &renewal{rt: r.rt, backoff: r.backoff, leaf: r.leaf, due: r.due, succeeded: r.succeeded, failed: r.failed}
}

// One that has ended keeps the agent from being ready, says what to do, and an enrolment
// beside the running agent mends it without a restart.
func TestAnExpiredCertificateIsMendedByAnEnrolment(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	ended := pkitest.Valid(pkitest.Agent("spiffe://stavily/org/acme/sensor/web-01"), -2*time.Hour, -time.Hour)
	key := pkitest.Key(t)
	if err := pki.SaveCredentials(credentialFiles(rt.Config().API.Auth), key, pkitest.PEM(i.ca.Sign(ended, key.Public())), pkitest.PEM(i.ca.Cert)); err != nil {
		t.Fatal(err)
	}
	if wait := r.step(t.Context()); wait != renewalLook {
		t.Errorf("looks again after %v", wait)
	}
	c := condition(rt, conditionExpired)
	if ready, _ := rt.Health.Ready(); ready || c == nil || !strings.Contains(c.Remedy, "stavily tokens create --type sensor --agent-id web-01") {
		t.Errorf("ready %v, condition %+v\n%s", ready, c, log)
	}
	i.enrol(rt)
	r.step(t.Context())
	if c := condition(rt, conditionExpired); c != nil {
		t.Errorf("after the enrolment: %+v", c)
	}
	if err := rt.beatOnce(t.Context()); err != nil {
		t.Errorf("after the enrolment: %v", err)
	}
}

// A renewal and an enrolment do not store at the same time, and the enrolment, which
// retires what the renewal got, is the one that stays.
func TestARenewalGivesWayToAnEnrolment(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	first := rt.identity.Leaf()
	r.schedule()
	r.due = time.Now()
	i.set(func() { i.life += time.Minute })
	release, err := lockCredentials(rt.Config().Agent.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	r.step(t.Context())
	if c := condition(rt, conditionRenewal); c == nil || !strings.Contains(c.Message, "waits for an enrolment") || !rt.identity.Leaf().Equal(first) {
		t.Errorf("during an enrolment: condition %+v\n%s", c, log)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	i.set(func() { i.meanwhile = func() { i.enrol(rt) } })
	r.step(t.Context())
	stored, err := rt.loadIdentity()
	if err != nil || stored.Leaf().Equal(first) || stored.Leaf().Equal(i.next) {
		t.Errorf("the renewal is stored over the enrolment: %v", err)
	}
	if r.step(t.Context()); !rt.identity.Leaf().Equal(stored.Leaf()) || condition(rt, conditionRenewal) != nil {
		t.Errorf("the enrolment is not taken up:\n%s", log)
	}
}

// A pin that cannot be read, which Validate refuses, fits nothing; it does not let
// everybody in.
func TestAPinThatIsNoneFitsNothing(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	rt.Config().API.Auth.PinSHA256 = []string{"sha256:x"}
	if pins := rt.tlsOptions().Pins; len(pins) != 1 || pins[0] != (pki.Pin{}) {
		t.Errorf("pins %v", pins)
	}
}

// Where the files cannot be written nothing is asked for, and files that somebody else
// replaces are taken up (F24, a Secret mount).
func TestMountedCertificatesAreFollowed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root writes everywhere: the directory is hidden behind a file instead")
	}
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	r.schedule()
	r.due = time.Now()
	dir := filepath.Dir(rt.Config().API.Auth.CertFile)
	aside := dir + ".aside"
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "no directory")
	r.step(t.Context())
	if c := condition(rt, conditionRenewal); i.asked != 0 || c == nil || !strings.Contains(c.Remedy, "mounted") {
		t.Errorf("asked %d times, condition %+v\n%s", i.asked, c, log)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	before := rt.identity.Leaf()
	i.enrol(rt)
	r.step(t.Context())
	if rt.identity.Leaf().Equal(before) || condition(rt, conditionRenewal) != nil {
		t.Errorf("the other certificate is not taken up:\n%s", log)
	}
}

// One that is due again as it comes, by a clock that is wrong, is used, told of, and not
// renewed without a pause.
func TestACertificateThatIsDueAsItComes(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, log := i.connected()
	first := rt.identity.Leaf()
	r.schedule()
	r.due = time.Now()
	i.set(func() { i.life, i.spent = i.life+time.Minute, 100*time.Hour })
	wait := r.step(t.Context())
	if c := condition(rt, conditionRenewal); wait < renewalFloor || c == nil || !strings.Contains(c.Message, "clock") {
		t.Errorf("pause of %v, condition %+v\n%s", wait, c, log)
	}
	if rt.identity.Leaf().Equal(first) {
		t.Error("it is not used")
	}
}

// renew_before is held to half of a life: more would renew for ever.
func TestRenewBefore(t *testing.T) {
	i := newIssuer(t, time.Hour)
	for set, want := range map[string]time.Duration{"0s": 22 * time.Minute, "10m": 10 * time.Minute, "720h": 33 * time.Minute} {
		_, r, _ := i.connected("STAVILY_API_AUTH_RENEW_BEFORE=" + set)
		r.schedule()
		if before := r.leaf.NotAfter.Sub(r.due); before < want-time.Second || before > want+66*time.Minute/20+time.Second {
			t.Errorf("with %s: due %v before the end, want %v and up to 3m18s", set, before, want)
		}
	}
}

// An answer that cannot be recorded is not used (G8), nor one that ends sooner.
func TestWhatIsNoRenewal(t *testing.T) {
	i := newIssuer(t, time.Hour)
	rt, r, _ := i.connected()
	first := rt.identity.Leaf()
	i.life = time.Minute
	r.schedule()
	r.due = time.Now()
	r.step(t.Context())
	if c := condition(rt, conditionRenewal); c == nil || !strings.Contains(c.Message, "not after the one in use") || !rt.identity.Leaf().Equal(first) {
		t.Errorf("condition %+v", c)
	}
	file := rt.Config().Security.Audit.File
	if err := os.Mkdir(file, 0o700); err != nil { // a directory stands where the file has to go
		t.Fatal(err)
	}
	rt.openAudit()
	defer rt.closeAudit()
	i.life, i.next = 2*time.Hour, nil
	r.step(t.Context())
	if stored, err := rt.loadIdentity(); err != nil || !stored.Leaf().Equal(first) || !rt.identity.Leaf().Equal(first) || i.next == nil {
		t.Errorf("a renewal that is not on record is used: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.step(t.Context())
	if !rt.identity.Leaf().Equal(i.next) || !strings.Contains(read(t, file), string(AuditRenewed)) {
		t.Errorf("once it can be recorded: %+v", condition(rt, conditionRenewal))
	}
}
