package pki_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

const agentURI = "spiffe://stavily/org/acme/sensor/web-01"

func TestParseIdentity(t *testing.T) {
	ca := pkitest.New(t, "CA")
	cert := ca.Sign(pkitest.Agent(agentURI), pkitest.Key(t).Public())
	got, err := pki.ParseIdentity(cert)
	want := pki.Identity{TrustDomain: "stavily", Org: "acme", Type: api.Sensor, Agent: "web-01"}
	if err != nil || got != want {
		t.Fatalf("ParseIdentity(%q) = %v, %v, want %v", agentURI, got, err, want)
	}
	if got.String() != agentURI {
		t.Errorf("String() = %q, want %q", got, agentURI)
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	ca := pkitest.New(t, "CA")
	for name, uris := range map[string][]string{
		"no URI, common name set": nil,
		"two URIs":                {agentURI, "spiffe://stavily/org/acme/sensor/web-02"},
		"the same URI twice":      {agentURI, agentURI},
		"another scheme":          {"https://stavily/org/acme/sensor/web-01"},
		"no trust domain":         {"spiffe:///org/acme/sensor/web-01"},
		"opaque":                  {"spiffe:stavily/org/acme/sensor/web-01"},
		"a user":                  {"spiffe://root@stavily/org/acme/sensor/web-01"},
		"a port":                  {"spiffe://stavily:443/org/acme/sensor/web-01"},
		"a query":                 {agentURI + "?org=evil"},
		"an empty query":          {agentURI + "?"},
		"a fragment":              {agentURI + "#x"},
		"upper-case trust domain": {"spiffe://Stavily/org/acme/sensor/web-01"},
		"upper-case organisation": {"spiffe://stavily/org/Acme/sensor/web-01"},
		"upper-case type":         {"spiffe://stavily/org/acme/Sensor/web-01"},
		"upper-case agent":        {"spiffe://stavily/org/acme/sensor/WEB-01"},
		"unknown type":            {"spiffe://stavily/org/acme/operator/web-01"},
		"extra segment":           {agentURI + "/admin"},
		"trailing slash":          {agentURI + "/"},
		"missing segment":         {"spiffe://stavily/org/acme/sensor"},
		"empty organisation":      {"spiffe://stavily/org//sensor/web-01"},
		"not org":                 {"spiffe://stavily/tenant/acme/sensor/web-01"},
		"dot segments":            {"spiffe://stavily/org/acme/sensor/.."},
		"escaped letter":          {"spiffe://stavily/org/acme/sensor/%77eb-01"},
		"escaped slash":           {"spiffe://stavily/org/acme%2Fevil/sensor/web-01"},
		"the CA's own name":       {"spiffe://stavily"},
		"id too long":             {"spiffe://stavily/org/acme/sensor/" + strings.Repeat("a", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			cert := ca.Sign(pkitest.Agent(uris...), pkitest.Key(t).Public())
			if id, err := pki.ParseIdentity(cert); err == nil {
				t.Errorf("ParseIdentity(%q) = %v, want an error", uris, id)
			} else if !strings.Contains(err.Error(), "enrol") {
				t.Errorf("ParseIdentity(%q) = %q, which does not say what to do", uris, err)
			}
		})
	}
}

func TestParseIdentityRefusesCA(t *testing.T) {
	template := pkitest.Agent(agentURI)
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	cert := pkitest.New(t, "CA").Sign(template, pkitest.Key(t).Public())
	if id, err := pki.ParseIdentity(cert); err == nil {
		t.Errorf("ParseIdentity of a CA = %v, want an error", id)
	}
}

// FuzzParseIdentity looks for a URI that is taken for an identity without being the
// one way in which that identity is written.
func FuzzParseIdentity(f *testing.F) {
	f.Add(agentURI)
	f.Add("spiffe://a/org/b/action/c")
	f.Add("SPIFFE://stavily/org/acme/sensor/web-01")
	f.Add("spiffe://stavily/org/acme/sensor/%2e%2e")
	f.Add("spiffe://[::1]/org/acme/sensor/web-01?#")
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		id, err := pki.ParseIdentity(&x509.Certificate{Subject: pkix.Name{CommonName: uri}, URIs: []*url.URL{u}})
		if err != nil {
			return
		}
		if err := id.Validate(); err != nil {
			t.Errorf("ParseIdentity(%q) = %v, which is not valid: %v", uri, id, err)
		}
		if id.String() != u.String() {
			t.Errorf("ParseIdentity(%q) = %v, which is written differently", u, id)
		}
	})
}
