package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// ServerTLS is the setting of the listener for agents. A client may come without a
// certificate, for enrolment; one that it does send must chain to clientCAs, be in
// its time and be for client authentication. Whether it is revoked, and whose it
// is, the server asks on every request.
//
// cert and clientCAs are asked at each handshake, so a renewed certificate or another CA
// needs no restart. A pool does not change; other CAs are another pool.
func ServerTLS(cert func(*tls.ClientHelloInfo) (*tls.Certificate, error), clientCAs func() *x509.CertPool) *tls.Config {
	conf := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         cert,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		ClientCAs:              clientCAs(),
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2", "http/1.1"},
	}
	var other atomic.Pointer[tls.Config] // for the pool of now, once that is another
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := clientCAs()
		if pool == conf.ClientCAs {
			return nil, nil
		}
		now := other.Load()
		if now == nil || now.ClientCAs != pool {
			now = conf.Clone()
			now.ClientCAs = pool
			other.Store(now)
		}
		return now, nil
	}
	return conf
}

// ClientOptions tune an agent's connections.
type ClientOptions struct {
	MinVersion   uint16   // 0: TLS 1.3; less than 1.2 is taken as 1.2
	CipherSuites []uint16 // for TLS 1.2; nil: crypto/tls's own
	Pins         []Pin    // one of them must be in the server's chain; nil: none is asked for
}

// ClientTLS is the setting of an agent's connections.
//
// The certificate is the current one at each handshake. The roots are those at the
// time of the call: after a Reload that brought another CA, make a new setting.
func (c *Credentials) ClientTLS(o ClientOptions) *tls.Config {
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS13
	}
	return &tls.Config{
		MinVersion:   max(o.MinVersion, tls.VersionTLS12),
		CipherSuites: o.CipherSuites,
		RootCAs:      c.now().roots,
		// Always the certificate, whatever CAs the server says it accepts: a refusal
		// that names the certificate helps, a request without one confuses. An empty one
		// goes with a token, which says who this is.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.now().certificate, nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			chain := cs.VerifiedChains[0]
			if err := checkPins(cs.VerifiedChains, o.Pins); err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
			}
			c.anchor.Store(chain[len(chain)-1])
			return nil
		},
		SessionTicketsDisabled: true,
	}
}

// PinnedTLS is the setting for enrolment, when the agent has no CA file yet: it
// trusts the CA with this fingerprint (as [Fingerprint] writes it) and no other. The
// server must present that CA in its chain, and a certificate for host that the CA
// vouches for. host is the DNS name or IP address in api.base_url; it is asked for
// because crypto/tls does not tell a verifier the name when it is an IP address.
func PinnedTLS(fingerprint, host string) (*tls.Config, error) {
	pin := strings.ToLower(strings.TrimSpace(fingerprint))
	raw, err := hex.DecodeString(strings.TrimPrefix(pin, digestPrefix))
	if err != nil || len(raw) != 32 || !strings.HasPrefix(pin, digestPrefix) {
		return nil, fmt.Errorf("CA fingerprint %.100q: must be sha256: and 64 hexadecimal digits; copy it from the command that `stavily tokens create` prints", fingerprint)
	}
	if host == "" {
		return nil, errors.New("pin the CA: the server's host name is empty; set api.base_url")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// Verification as usual needs a root beforehand, and here the root comes with the
		// handshake. VerifyConnection, which also runs when a session is resumed, does all of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if err := verifyPinned(cs.PeerCertificates, pin, host); err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
			}
			return nil
		},
		SessionTicketsDisabled: true,
	}, nil
}

func verifyPinned(chain []*x509.Certificate, pin, host string) error {
	if len(chain) == 0 {
		return errors.New("the server presented no certificate")
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, cert := range chain {
		if Fingerprint(cert) == pin && cert.IsCA {
			roots.AddCert(cert)
			found = true
		} else {
			others.AddCert(cert)
		}
	}
	if !found {
		return fmt.Errorf("the server presented %d certificates and none is the CA with the fingerprint %s: compare it with the output of `stavily tokens create` on the server itself; if it differs, you are not talking to that server", len(chain), pin)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName:       host,
		Roots:         roots,
		Intermediates: others,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}
