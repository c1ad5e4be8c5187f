package agentapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// knock makes one connection that comes to nothing, and sends a few bytes of text where it does.
func knock(addr string, conf *tls.Config) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if conf == nil {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	} else {
		conn = tls.Client(conn, conf)
		_, _ = io.WriteString(conn, "x")
	}
	_, _ = conn.Read(make([]byte, 1))
}

// Everybody who is refused before it is known who that is counts by the reason, at both
// listeners, and is on record.
func TestStrangersAreOnRecord(t *testing.T) {
	port := freeAddress(t)
	s := servertest.StartWith(t, func(o *server.Options) { o.MetricsListen = port })
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	web, err := url.Parse(s.WebURL())
	if err != nil {
		t.Fatal(err)
	}
	with := func(c *servertest.Agent) *tls.Config {
		return s.HTTP(c).Transport.(*http.Transport).TLSClientConfig
	}
	old := func() *tls.Config {
		conf := with(nil)
		conf.MinVersion, conf.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		return conf
	}
	h3 := with(nil)
	h3.NextProtos = []string{"h3"}
	h3.ServerName = "127.0.0.1"
	for _, c := range []struct {
		listener, reason string
		addr             string
		conf             *tls.Config
	}{
		{"agents", "no_tls", s.Addr, nil},
		{"agents", "version", s.Addr, old()},
		{"agents", "parameters", s.Addr, h3},
		{"agents", "unknown_ca", s.Addr, with(selfSigned(t))},
		{"agents", "expired", s.Addr, with(forge(t, s, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil))},
		{"agents", "expired", s.Addr, with(forge(t, s, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, nil))},
		{"agents", "purpose", s.Addr, with(forge(t, s, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil))},
		{"agents", "client", s.Addr, &tls.Config{ServerName: "127.0.0.1"}},
		{"web", "no_tls", web.Host, nil},
		{"web", "version", web.Host, old()},
		{"web", "client", web.Host, &tls.Config{ServerName: "127.0.0.1"}},
	} {
		if c.conf != nil && c.conf.ServerName == "" {
			c.conf.ServerName = "127.0.0.1"
		}
		knock(c.addr, c.conf)
	}
	call(t, s, caller{"nobody", nil, "sensor-1", ""}, "POST", "/agents/v1/sensor-1/heartbeat")
	call(t, s, caller{"no token", nil, "sensor-1", "svt_default_guess"}, "POST", "/agents/v1/enroll")
	call(t, s, caller{"two names", forge(t, s, func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("sensor-2")) }, nil), "sensor-1", ""}, "POST", "/agents/v1/sensor-1/heartbeat")
	s.Do("POST", "/api/v1/agents/sensor-1/revoke", operatorapi.RevokeRequest{}, nil)
	call(t, s, caller{"revoked", sensor, "sensor-1", ""}, "POST", "/agents/v1/sensor-1/heartbeat")

	want := map[string]int{
		"agents no_tls": 1, "agents version": 1, "agents parameters": 1, "agents unknown_ca": 1, "agents expired": 2, "agents purpose": 1, "agents client": 1,
		"web no_tls": 1, "web version": 1, "web client": 1,
		"agents no_certificate": 1, "agents bad_token": 1, "agents bad_certificate": 1, "agents agent_revoked": 1,
	}
	deadline := time.Now().Add(time.Minute)
	for kind, times := range want {
		listener, reason, _ := strings.Cut(kind, " ")
		sample := fmt.Sprintf("stavily_server_strangers_refused_total{listener=%q,reason=%q} %d\n", listener, reason, times)
		for !strings.Contains(metrics(t, port), sample) || !onRecord(s, listener, reason) {
			if time.Now().After(deadline) {
				t.Errorf("%s: counted %v, on record %v", kind, strings.Contains(metrics(t, port), sample), onRecord(s, listener, reason))
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if t.Failed() {
		t.Log(metrics(t, port))
	}
}

func onRecord(s *servertest.Server, listener, reason string) bool {
	for _, row := range s.Audit() {
		if row.Action == "strangers.refused" && row.Object == listener && strings.HasPrefix(row.Detail, reason+": ") && strings.Contains(row.Detail, "127.0.0.0/24") {
			return true
		}
	}
	return false
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func metrics(t *testing.T, addr string) string {
	t.Helper()
	answer, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := limits.ReadAll(answer.Body, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
