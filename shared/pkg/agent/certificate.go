package agent

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Conditions of the certificate.
const (
	conditionRenewal = "certificate_renewal" // it is due and does not succeed
	conditionExpired = "certificate_expired"
)

const (
	// renewalLook is how often the files are looked at, and the clock: a host that slept
	// wakes with another time.
	renewalLook = time.Minute

	// renewalFloor is the shortest pause between two tries.
	renewalFloor = 250 * time.Millisecond
)

// credentialFiles says where an agent's credentials are and how its key is held.
func credentialFiles(a config.Auth) pki.Files {
	f := pki.Files{Cert: a.CertFile, Key: a.KeyFile, CA: a.CAFile}
	switch {
	case a.Type == config.JWT:
		f.Token = a.TokenFile
	case len(a.SignerCommand) > 0:
		f.External = &pki.External{Command: a.SignerCommand}
	case len(a.KeyPassphraseCommand) > 0:
		f.Passphrase = pki.PassphraseCommand(a.KeyPassphraseCommand)
	case a.KeyPassphraseFile != "":
		f.Passphrase = pki.PassphraseFile(a.KeyPassphraseFile)
	}
	return f
}

// tlsOptions are what the configuration says of connections.
func (rt *Runtime) tlsOptions() pki.ClientOptions {
	t := rt.Config().Security.TLS
	o := pki.ClientOptions{MinVersion: t.Version(), CipherSuites: t.Suites()}
	for _, text := range rt.Config().API.Auth.PinSHA256 {
		pin, _ := pki.ParsePin(text) // Validate has seen it; of anything else it is a pin that nothing has
		o.Pins = append(o.Pins, pin)
	}
	return o
}

// keepIdentity is the loop that keeps what proves this agent's identity in its time.
func (rt *Runtime) keepIdentity() Component {
	rt.Metrics.GaugeFunc("certificate_not_after_seconds", "When the certificate in use ends, or the token that stands for it, in seconds since 1970.", func() float64 {
		_, end := rt.identity.Life()
		return float64(end.Unix())
	})
	if rt.identity.Bearer() != "" {
		return Component{"token", newRefreshing(rt).run}
	}
	return Component{"certificate", newRenewal(rt).run}
}

// renewal keeps the certificate of an agent in its time: it renews it, takes up one that
// somebody put in its place, and tells when neither happens.
type renewal struct {
	rt      *Runtime
	backoff *api.Backoff

	leaf *x509.Certificate // that due was worked out for
	due  time.Time

	hastened *x509.Certificate // whose renewal was asked for
	key      crypto.Signer     // of a request that has no answer yet: asked again, it is the same one

	told string // the reason that was logged last

	succeeded, failed *telemetry.Counter
}

func newRenewal(rt *Runtime) *renewal {
	outcomes := rt.Metrics.CounterVec("certificate_renewals_total", "Renewals of the certificate that were tried, by outcome.", "outcome")
	return &renewal{rt: rt, backoff: rt.Backoff(), succeeded: outcomes.WithLabelValues("renewed"), failed: outcomes.WithLabelValues("failed")}
}

// run looks until ctx ends.
func (r *renewal) run(ctx context.Context) error {
	for {
		r.rt.Health.Beat("certificate", 2*renewalLook+2*r.rt.Config().API.Timeout.Duration())
		pause := r.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-r.rt.advised:
		case <-time.After(pause):
		}
	}
}

// step does what is due now and returns how long nothing is.
func (r *renewal) step(ctx context.Context) time.Duration {
	r.follow(ctx)
	r.schedule()
	r.heed()
	if wait := time.Until(r.due); wait > 0 {
		r.rt.Health.Clear(conditionRenewal)
		r.rt.Health.Clear(conditionExpired)
		return min(wait, renewalLook)
	}
	err := r.renew(ctx)
	if ctx.Err() != nil {
		return 0
	}
	if err == nil {
		if r.schedule(); time.Now().Before(r.due) {
			r.backoff.Reset()
			r.told = ""
			return 0
		}
		err = errClock
	}
	left := time.Until(r.leaf.NotAfter)
	r.tell(ctx, err, left)
	if left <= 0 {
		return renewalLook // a person is needed, or another file
	}
	// The shorter the time that is left, the sooner again.
	return max(min(r.backoff.Next(api.RetryAfter(err)), left/4, renewalLook), renewalFloor)
}

// schedule works out when the certificate in use is to be renewed: some time before two
// thirds of its life, so that agents that were enrolled together do not come together.
func (r *renewal) schedule() {
	leaf := r.rt.identity.Leaf()
	if leaf == r.leaf {
		return
	}
	r.leaf = leaf
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	before := life / 3
	if set := r.rt.Config().API.Auth.RenewBefore.Duration(); set > 0 {
		before = min(set, life/2)
	}
	r.due = leaf.NotAfter.Add(-before - rand.N(life/20+1))
}

// follow takes up files that changed beside this process: an enrolment, a secret store,
// another CA.
func (r *renewal) follow(ctx context.Context) {
	rt := r.rt
	if !rt.identity.Changed() {
		return
	}
	before := rt.identity.Leaf()
	if err := rt.identity.Reload(); err != nil {
		rt.Log.Warn("the certificate files changed and are not taken up", telemetry.KeyError, err)
		return
	}
	if !rt.identity.Leaf().Equal(before) {
		if err := rt.auditIdentity(ctx, rt.identity); err != nil { // ctx has ended
			return
		}
	}
	rt.API.Reconnect(rt.identity.ClientTLS(rt.tlsOptions()))
	r.key = nil
	rt.Log.Info("certificate files taken up", "serial", rt.identity.Leaf().SerialNumber.Text(16), "not_after", rt.identity.Leaf().NotAfter)
	rt.BeatSoon()
}

// errClock is of one that is due again as it comes: without a pause it would be renewed
// as fast as the orchestrator answers.
var errClock = errors.New("the next one is due for renewal at once: compare this host's clock with the orchestrator's")

// errMounted is that of an agent that cannot store a certificate.
var errMounted = errors.New("the directory of the certificate cannot be written")

// renew asks for the next certificate and takes it into use. The one in use is good
// until the orchestrator sees the next one, so an answer that is lost, or a crash at
// any point, leaves an agent that can ask again.
func (r *renewal) renew(ctx context.Context) (err error) {
	rt := r.rt
	defer func() {
		if err == nil {
			r.succeeded.Inc()
		} else if ctx.Err() == nil {
			r.failed.Inc()
		}
	}()
	if err := rt.identity.Writable(); err != nil {
		return fmt.Errorf("%w: %w", errMounted, err)
	}
	if r.key == nil {
		if r.key, err = rt.identity.NextKey(); err != nil {
			return err
		}
	}
	csr, err := pki.NewCSR(r.key, rt.Config().Agent.ID)
	if err != nil {
		return err
	}
	ask := rt.API.Renew
	if time.Now().After(r.leaf.NotAfter) {
		ask = rt.API.RenewLate
	}
	answer, err := ask(ctx, api.CertificateRequest{CSRPEM: string(csr)})
	if err != nil {
		return err
	}
	if err := r.use(answer); err != nil {
		return err
	}
	r.key = nil
	return nil
}

// use records and stores what a renewal brought, and connects anew with it. What runs
// goes on: calls that are under way end on the old connection.
func (r *renewal) use(answer api.EnrollResponse) (err error) {
	rt := r.rt
	chain, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		return err
	}
	next := chain[0]
	if !next.NotAfter.After(r.leaf.NotAfter) {
		return fmt.Errorf("the renewed certificate ends at %s, not after the one in use: is the orchestrator's CA, or its clock, at its end?", next.NotAfter.Format(time.RFC3339))
	}
	release, err := lockCredentials(rt.Config().Agent.BaseDir)
	if err != nil {
		return fmt.Errorf("the renewed certificate waits for an enrolment: %w", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if rt.identity.Changed() { // an enrolment was faster, and has retired what would be stored here
		return errors.New("the files were replaced meanwhile, and count")
	}
	fields := append(certificateFields(next, rt.identity.Identity()), slog.String("replaces", r.leaf.SerialNumber.Text(16)))
	if err := rt.Audit.Record(AuditRenewed, fields...); err != nil {
		return err
	}
	if err := rt.identity.Renewed(r.key, []byte(answer.CertificatePEM), []byte(answer.CAPEM)); err != nil {
		return err
	}
	rt.noteCertificate(next)
	rt.API.Reconnect(rt.identity.ClientTLS(rt.tlsOptions()))
	rt.Log.Info("certificate renewed", "serial", next.SerialNumber.Text(16), "not_after", next.NotAfter)
	rt.BeatSoon() // the first use, which retires the old one
	return nil
}

// tell says that a renewal does not succeed, louder as the end comes near.
func (r *renewal) tell(ctx context.Context, err error, left time.Duration) {
	rt := r.rt
	end := r.leaf.NotAfter.UTC().Format(time.RFC3339)
	remedy := "nothing is lost yet: it is tried again by itself; where the reason stays, see docs/tls.md"
	if errors.Is(err, errMounted) {
		remedy = "replace the certificate where it is mounted from: this agent takes up another one within a minute"
	}
	if left <= 0 {
		rt.Health.Clear(conditionRenewal)
		rt.Health.Set(conditionExpired, Degraded, true, fmt.Sprintf("the certificate ended at %s: %v", end, err), rt.enrollHint())
	} else {
		rt.Health.Set(conditionRenewal, Degraded, false, fmt.Sprintf("the certificate ends at %s and could not be renewed: %v", end, err), remedy)
	}
	if told := err.Error(); r.told != told { // once per reason, not once per try
		r.told = told
		rt.Log.Warn("the certificate is not renewed", "not_after", r.leaf.NotAfter, telemetry.KeyError, err)
	}
	r.warn(ctx, err, left)
}
