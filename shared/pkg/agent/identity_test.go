package agent

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func TestWhoseCertificate(t *testing.T) {
	for _, c := range []struct{ name, identity, organization, want string }{
		{"this agent's", "acme/sensor/web-01", "", ""},
		{"this agent's, the organisation said", "acme/sensor/web-01", "acme", ""},
		{"an action agent's", "acme/action/web-01", "", "for an agent of type action and this is one of type sensor"},
		{"another agent's", "acme/sensor/web-02", "", `for agent "web-02" and agent.id is "web-01"`},
		{"another organisation's", "acme/sensor/web-01", "initech", `for organisation "acme" and agent.organization_id is "initech"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt, _ := testRuntime(t, api.Sensor, "STAVILY_AGENT_ORGANIZATION_ID="+c.organization)
			enrolled(t, rt.Config(), pkitest.New(t, "ca"), c.identity)
			_, err := rt.loadIdentity()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("loadIdentity: %v, want %q", err, c.want)
			}
		})
	}
}

// An agent without a certificate waits, is not ready, says once why and what to do, and
// goes on when the certificate is there.
func TestTheCertificateIsAwaited(t *testing.T) {
	rt, log := testRuntime(t, api.Sensor, "STAVILY_AGENT_REGISTRATION_RETRY_INTERVAL=5s")
	ca := pkitest.New(t, "ca")
	synctest.Test(t, func(t *testing.T) {
		var creds *pki.Credentials
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			creds, err = rt.awaitIdentity(t.Context())
		}()
		time.Sleep(17 * time.Second) // three more looks
		synctest.Wait()
		c := condition(rt, conditionNotEnrolled)
		if ready, _ := rt.Health.Ready(); ready || c == nil || !strings.Contains(c.Remedy, "stavily tokens create --type sensor --agent-id web-01") {
			t.Errorf("ready = %v, condition %+v, want not ready and the command to run", ready, c)
		}
		if n := log.count("not enrolled", "has no certificate yet"); n != 1 {
			t.Errorf("%d lines of log, want 1:\n%s", n, log)
		}
		enrolled(t, rt.Config(), ca, "acme/sensor/web-02")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if log.count("not enrolled", "web-02") != 1 {
			t.Errorf("a wrong certificate is not told of:\n%s", log)
		}
		enrolled(t, rt.Config(), ca, "acme/sensor/web-01")
		begin := time.Now()
		<-done
		if err != nil || creds.Identity().Agent != "web-01" || time.Since(begin) > 5*time.Second {
			t.Errorf("awaitIdentity = %v, %v after %v, want web-01 within 5 s", creds, err, time.Since(begin))
		}
		if ready, why := rt.Health.Ready(); !ready {
			t.Errorf("not ready: %+v", why)
		}
	})
}

func TestWaitingForACertificateEndsWithTheAgent(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.awaitIdentity(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want context.Canceled", err)
	}
}

func TestWarningsAboutCredentialsAreLogged(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes of files say nothing here")
	}
	rt, log := testRuntime(t, api.Sensor)
	enrolled(t, rt.Config(), pkitest.New(t, "ca"), "acme/sensor/web-01")
	if err := os.Chmod(rt.Config().API.Auth.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.awaitIdentity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log.count("level=WARN", "credentials", "client.key") != 1 {
		t.Errorf("the key that others could read is not told of once:\n%s", log)
	}
}
