package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// conditionTrust holds while the CAs that the orchestrator names cannot be taken up, or are
// not pinned: once it shows a certificate of one of them, this agent would not connect.
const conditionTrust = "certificate_authorities"

// maxHaste is how long a renewal that was asked for is put off at most, so that a fleet
// spreads out.
const maxHaste = 5 * time.Minute

// advice is what the orchestrator said about CA and certificate.
type advice struct {
	caPEM string
	renew bool
}

// noteAdvice hands what a heartbeat brought to the loop that keeps the identity: nobody else
// changes its files.
func (rt *Runtime) noteAdvice(answer api.HeartbeatResponse) {
	if answer.CAPEM == "" && !answer.RenewCertificate {
		rt.noteUnpinned()
		return
	}
	rt.advice.Store(&advice{answer.CAPEM, answer.RenewCertificate})
	select {
	case rt.advised <- struct{}{}:
	default:
	}
}

// heed does what was advised: it takes up the CAs, and lets the renewal be due soon.
func (r *renewal) heed() {
	a := r.rt.advice.Swap(nil)
	r.rt.trust(a)
	if a == nil || !a.renew || r.hastened == r.leaf {
		return
	}
	r.hastened = r.leaf
	life := r.leaf.NotAfter.Sub(r.leaf.NotBefore)
	if soon := time.Now().Add(rand.N(min(life/20, maxHaste) + 1)); soon.Before(r.due) {
		r.due = soon
		r.rt.Log.Info("the orchestrator's CA changes: the certificate is renewed", "at", soon)
	}
}

// trust records, stores and takes into use the CAs that were advised.
func (rt *Runtime) trust(a *advice) {
	if a == nil || a.caPEM == "" {
		return
	}
	if err := rt.takeTrust([]byte(a.caPEM)); err != nil {
		rt.Health.Set(conditionTrust, Degraded, false, fmt.Sprintf("the CAs that the orchestrator names could not be stored: %v", err),
			"put the bundle of the orchestrator's ca/ca.crt into api.auth.ca_file, before the next CA is activated there")
		rt.Log.Warn("the orchestrator's CAs are not taken up", telemetry.KeyError, err)
		return
	}
	rt.noteUnpinned()
}

func (rt *Runtime) takeTrust(caPEM []byte) (err error) {
	release, err := lockCredentials(rt.Config().Agent.BaseDir)
	if err != nil {
		return fmt.Errorf("they wait for an enrolment: %w", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	bundle, changed, err := rt.identity.Bundle(caPEM)
	if err != nil {
		return err
	}
	if changed {
		if err := rt.Audit.Record(AuditTrusted, slog.String("authorities", fingerprints(bundle)), slog.String("replaces", strings.Join(rt.identity.Trusted(nil), " "))); err != nil {
			return err
		}
		if err := rt.identity.Trust(bundle); err != nil {
			return err
		}
		rt.Log.Info("certificate authorities taken up", "trusted", rt.identity.Trusted(nil))
	}
	if changed || len(bundle) > len(caPEM) { // the connection in use may be vouched for by the one that goes
		rt.API.Reconnect(rt.identity.ClientTLS(rt.tlsOptions()))
		rt.BeatSoon() // so that the orchestrator knows
	}
	return nil
}

// fingerprints are those of the certificates in a bundle that was parsed before.
func fingerprints(bundle []byte) string {
	cas, _ := pki.ParseCertificates(bundle)
	var list []string
	for _, ca := range cas {
		list = append(list, pki.Fingerprint(ca))
	}
	return strings.Join(list, " ")
}

// noteUnpinned keeps the condition that a CA is trusted and not pinned, where others are.
func (rt *Runtime) noteUnpinned() {
	pins := rt.tlsOptions().Pins
	if all, good := rt.identity.Trusted(nil), rt.identity.Trusted(pins); len(pins) > 0 && len(good) > 0 && len(good) < len(all) {
		rt.Health.Set(conditionTrust, Degraded, false, "api.auth.pin_sha256 names not every CA of the orchestrator, which are "+strings.Join(all, ", "),
			"add the missing one to api.auth.pin_sha256 before it is activated on the orchestrator (`stavily ca status`), and take the old one away after")
		return
	}
	rt.Health.Clear(conditionTrust)
}
