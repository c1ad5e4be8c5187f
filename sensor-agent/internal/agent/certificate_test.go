//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// An agent whose certificate comes near its end and is not renewed, here by an
// orchestrator that cannot, makes an event of it, once.
func TestTheEndOfTheCertificateIsAnEvent(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, nil, "")
	text, err := os.ReadFile(filepath.Join(r.base, "certificates", "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	old := o.ca.Sign(pkitest.Valid(pkitest.Agent("spiffe://stavily/org/acme/sensor/"+agentID), -80*day, 10*day), key.Public())
	write(t, filepath.Join(r.base, "certificates", "client.crt"), string(pkitest.PEM(old)))
	r.start()
	e := o.await("certificate.expiring")
	same(t, "event", []string{"sensor-agent", string(api.Medium), "14"}, []string{e.Source, string(e.Severity), string(e.Data["days"])})
	same(t, "exit code", 0, r.stop())
	before := o.kinds("certificate.expiring")
	r.start()
	o.until("a heartbeat of the next life", func() bool { return len(o.beats) > 2 && o.lastBeat().Status == "online" })
	time.Sleep(time.Second) // several tries
	same(t, "events", before, o.kinds("certificate.expiring"))
}
