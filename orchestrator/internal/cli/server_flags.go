package cli

import (
	"errors"
	"fmt"
	"net"
	"regexp"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/retention"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/trace"
)

// checkServer looks at what the flags of a server say before anything is made or opened.
func checkServer(so server.Options) error {
	return errors.Join(checkTimes(so), checkHostnames(so.Hostnames), checkAddresses(so), checkTogether(so), checkWords(so))
}

func checkTimes(so server.Options) error {
	switch {
	case so.Lease < minLease:
		return fmt.Errorf("--lease %s: must be at least %s", so.Lease, minLease)
	case so.RenewalGrace < 0 || so.RenewalGrace > ca.MaxLifetime:
		return fmt.Errorf("--renewal-grace %s: must be from 0 to %s", so.RenewalGrace, ca.MaxLifetime)
	case so.SlowQuery < 0:
		return fmt.Errorf("--slow-query %s: must be 0 or more", so.SlowQuery)
	case so.Lifetime < ca.MinLifetime || so.Lifetime > ca.MaxLifetime:
		return fmt.Errorf("--certificate-lifetime %s: must be from %s to %s", so.Lifetime, ca.MinLifetime, ca.MaxLifetime)
	case so.Keep.Runs != 0 && so.Keep.Runs < retention.LeastRuns:
		kept, least := days(so.Keep.Runs), days(retention.LeastRuns)
		return fmt.Errorf("--keep-runs %s: must be at least %s, or 0 to keep them for ever", &kept, &least)
	}
	return nil
}

// hostname is what certificates and URLs take as a name. Underscores are in names of containers.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

// maxHostname is that of DNS, without its final dot (RFC 1035, section 2.3.4).
const maxHostname = 253

func checkHostnames(names []string) error {
	for _, name := range names {
		if net.ParseIP(name) == nil && (len(name) > maxHostname || !hostname.MatchString(name)) {
			return fmt.Errorf("--hostname %.300q: must be a host name or an IP address, without scheme and port, for example orchestrator.example.com", name)
		}
	}
	return nil
}

// checkAddresses leaves to the start whether an address is one of this host.
func checkAddresses(so server.Options) error {
	for _, of := range []struct{ flag, address string }{{"listen", so.Listen}, {"web-listen", so.WebListen}, {"metrics-listen", so.MetricsListen}} {
		if of.address == "" {
			continue
		}
		_, port, err := net.SplitHostPort(of.address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return fmt.Errorf("--%s %q: must be HOST:PORT, or :PORT for every address of this host: %w", of.flag, of.address, err)
		}
	}
	return nil
}

// checkTogether is of flags that belong together, or exclude each other.
func checkTogether(so server.Options) error {
	switch {
	case (so.WebCertificate == "") != (so.WebKey == ""):
		return errors.New("--web-certificate and --web-key name the files of one pair: give both of them")
	case so.SecretsKeyFile != "" && so.SecretsKeyCommand != "":
		return errors.New("--secrets-key-file and --secrets-key-command: say one of them")
	case so.OpenID.Issuer == "" && so.OpenID.ClientID != "":
		return errors.New("--oidc-client-id without --oidc-issuer: say which provider it is at")
	}
	return nil
}

// checkWords is of what is written in a form of its own.
func checkWords(so server.Options) error {
	if _, err := trace.ParseSampler(so.Sampler); err != nil {
		return fmt.Errorf("--trace-sampler %w", err)
	}
	if so.Collector != "" {
		if _, err := trace.Endpoint(so.Collector); err != nil {
			return fmt.Errorf("--otlp-endpoint %w", err)
		}
	}
	if so.TrustDomain != "" {
		if err := (pki.Identity{TrustDomain: so.TrustDomain, Org: "default", Type: api.Sensor, Agent: "a"}).Validate(); err != nil {
			return fmt.Errorf("--trust-domain: %w", err)
		}
	}
	if so.AcceptCA != "" {
		if _, err := pki.PinnedTLS(so.AcceptCA, "localhost"); err != nil {
			return fmt.Errorf("--accept-ca: %w", err)
		}
	}
	if so.OpenID.Issuer != "" {
		return so.OpenID.Check()
	}
	return nil
}
