package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// attempt is what a cause may name.
type attempt struct {
	request *http.Request
	host    string // host and port, or host where the port is that of https
	timeout time.Duration
	now     time.Time
}

// cause recognises one reason why a request got no answer. An empty message means
// that it is another one.
type cause func(err error, a attempt) (Kind, string)

// causes are asked in turn. A proxy comes first, because the errors of reaching it
// look like those of reaching the server; a failed check of a certificate before TLS
// at large; time limits last, because each of the others may be due to one.
var causes = []cause{becauseOfProxy, becauseOfServerCertificate, becauseOfAlert, becauseOfTLS, becauseOfSize, becauseOfName, becauseOfConnection, becauseOfTime}

// explain makes the error of a call that failed from what net/http says. When ctx,
// the caller's, has ended, that is the reason.
func (c *Client) explain(ctx context.Context, err error, r *http.Request) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL, ctx.Err())
	}
	a := attempt{request: r, host: r.URL.Host, timeout: c.limit(), now: time.Now()}
	if u := a.because(err); u != nil {
		return u
	}
	if proxy := proxyFor(r); proxy != nil {
		return &UnreachableError{Kind: KindProxy, Err: err, Message: fmt.Sprintf("the connection to %s through the proxy %s broke: %v; does the proxy pass TLS on untouched?", a.host, proxy.Redacted(), innermost(err))}
	}
	if kind, message := becauseOfAlert(c.link.Load().verdict(ctx, r.URL), a); message != "" {
		return &UnreachableError{Kind: kind, Message: message, Err: err}
	}
	return &UnreachableError{Kind: KindNetwork, Err: err, Message: fmt.Sprintf("the connection to %s broke: %v; is the orchestrator running, and does a firewall or NAT in between cut connections?", a.host, innermost(err))}
}

// because asks the causes; nil when none knows the error.
func (a attempt) because(err error) *UnreachableError {
	for _, cause := range causes {
		if kind, message := cause(err, a); message != "" {
			return &UnreachableError{Kind: kind, Message: message, Err: err}
		}
	}
	return nil
}

// innermost drops the method and URL that net/http puts before an error.
func innermost(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func becauseOfProxy(err error, a attempt) (Kind, string) {
	var refusal *proxyRefusal
	if errors.As(err, &refusal) {
		remedy := "allow it there, or name the host in NO_PROXY"
		if refusal.status == http.StatusProxyAuthRequired {
			remedy = "put user and password into HTTPS_PROXY, or name the host in NO_PROXY"
		}
		return KindProxy, fmt.Sprintf("the proxy %s refused to connect to %s with %s: %s", refusal.proxy.Redacted(), a.host, statusText(refusal.status), remedy)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		name := "in the environment"
		if proxy := proxyFor(a.request); proxy != nil {
			name = proxy.Redacted()
		}
		return KindProxy, fmt.Sprintf("the proxy %s cannot be reached: %v; correct HTTPS_PROXY, or name %s in NO_PROXY", name, op.Err, a.request.URL.Hostname())
	}
	return "", ""
}

func becauseOfServerCertificate(err error, a attempt) (Kind, string) {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var failed *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return KindCertificate, fmt.Sprintf("the certificate of %s is not for that name: %v; use one of its names in api.base_url, or start the server with --hostname %s", a.host, name, a.request.URL.Hostname())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return KindCertificate, outOfTime(invalid.Cert, a)
	case errors.As(err, &unknown):
		return KindCertificate, fmt.Sprintf("the certificate of %s is signed by an unknown authority: it is another server, or its CA was replaced; compare api.auth.ca_file with the CA on the server, or enrol again", a.host)
	case errors.As(err, &failed):
		return KindCertificate, fmt.Sprintf("the certificate of %s was refused: %v", a.host, failed.Err)
	}
	return "", ""
}

func outOfTime(cert *x509.Certificate, a attempt) string {
	clock := a.now.UTC().Format(time.RFC3339)
	if a.now.Before(cert.NotBefore) {
		return fmt.Sprintf("the certificate of %s is not valid before %s and this host's clock says %s: is the clock behind?", a.host, cert.NotBefore.UTC().Format(time.RFC3339), clock)
	}
	return fmt.Sprintf("the certificate of %s expired at %s and this host's clock says %s: restart the server to renew it, unless the clock is ahead", a.host, cert.NotAfter.UTC().Format(time.RFC3339), clock)
}

// alerts are what a TLS server says when it refuses us (RFC 8446, section 6.2).
var alerts = []struct {
	alert   tls.AlertError
	kind    Kind
	meaning string
}{
	{42, KindCertificate, "refused this agent's certificate; enrol this agent again"},
	{43, KindCertificate, "says that this agent's certificate is not for this purpose; use the one that enrolment made"},
	{44, KindCertificate, "says that this agent's certificate is revoked; enrol this agent again"},
	{45, KindCertificate, "says that this agent's certificate has expired or is not valid yet; compare the clocks of both hosts, or enrol this agent again"},
	{46, KindCertificate, "does not accept this agent's certificate; enrol this agent again"},
	{48, KindCertificate, "does not know the CA of this agent's certificate: it is another orchestrator, or its CA was replaced; enrol this agent with it"},
	{49, KindCertificate, "accepts this agent's certificate but not this agent; ask its operator"},
	{116, KindCertificate, "demands a client certificate and got none; enrol this agent, and let no proxy in between end TLS"},
	{70, KindTLS, "does not offer a TLS version that security.tls.min_version allows, or wants a newer one; update the older side"},
}

func becauseOfAlert(err error, a attempt) (Kind, string) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return "", ""
	}
	for _, known := range alerts {
		if op.Err.Error() == known.alert.Error() { // the type of op.Err is not exported
			return known.kind, fmt.Sprintf("%s %s (%v)", a.host, known.meaning, op.Err)
		}
	}
	return KindTLS, fmt.Sprintf("%s ended the TLS handshake: %v; is api.base_url the port of the agent API?", a.host, op.Err)
}

func becauseOfTLS(err error, a attempt) (Kind, string) {
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return KindTLS, fmt.Sprintf("%s speaks HTTP without TLS; is api.base_url the port of the agent API?", a.host)
	case errors.As(err, &header):
		return KindTLS, fmt.Sprintf("%s does not speak TLS; is api.base_url the port of the agent API?", a.host)
	}
	return "", ""
}

func becauseOfSize(err error, a attempt) (Kind, string) {
	if errors.Is(err, limits.ErrTooLarge) {
		return KindNotStavily, fmt.Sprintf("the answer of %s is %v; is api.base_url the address of the orchestrator's agent API?", a.host, err)
	}
	return "", ""
}

func becauseOfName(err error, _ attempt) (Kind, string) {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return "", ""
	case dns.IsNotFound:
		return KindNetwork, fmt.Sprintf("there is no host named %q; correct api.base_url, or the name servers of this host", dns.Name)
	}
	return KindNetwork, fmt.Sprintf("the name servers did not say where %q is: %s; check the network and the name servers of this host", dns.Name, dns.Err)
}

func becauseOfConnection(err error, a attempt) (Kind, string) {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return KindNetwork, fmt.Sprintf("%s did not answer when connecting: is it up, and does a firewall drop the packets?", a.host)
	case errors.As(err, &op) && op.Op == "dial":
		return KindNetwork, fmt.Sprintf("cannot connect to %s: %v; is the orchestrator running, and is api.base_url its host and port?", a.host, op.Err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return KindNetwork, fmt.Sprintf("the answer of %s broke off in the middle; what was asked may have been done and is asked again", a.host)
	}
	return "", ""
}

func becauseOfTime(err error, a attempt) (Kind, string) {
	var limit interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return KindNetwork, fmt.Sprintf("%s gave no whole answer in time (api.timeout is %s); is the orchestrator overloaded, or the network slow?", a.host, a.timeout)
	case errors.As(err, &limit) && limit.Timeout():
		return KindNetwork, fmt.Sprintf("%s accepted the connection and then said nothing: %v; is api.base_url the port of the agent API?", a.host, innermost(err))
	}
	return "", ""
}
