package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind says in which layer an orchestrator was out of reach. A refusal by the
// orchestrator itself, of an organisation or an identity say, is an [Error] instead.
type Kind string

// The kinds of [UnreachableError].
const (
	KindNetwork     Kind = "network"     // no connection, or it broke: name, route, firewall, server down
	KindProxy       Kind = "proxy"       // a proxy or load balancer in between is the trouble
	KindTLS         Kind = "tls"         // no TLS session: another protocol or version
	KindCertificate Kind = "certificate" // one side does not trust the other's certificate
	KindNotStavily  Kind = "not_stavily" // something answered that is not the Agent API
)

// UnreachableError says that a call got no answer of the Agent API, and why. Whether
// the orchestrator received the request is unknown: repeat it with the same ids.
type UnreachableError struct {
	Kind       Kind
	Message    string        // what happened, where, and what to do
	HTTPStatus int           // of an answer that is not the Agent API's; 0 when there was none
	RetryAfter time.Duration // from that answer, or 0
	Err        error         // what it was made from; may be nil
}

func (e *UnreachableError) Error() string { return string(e.Kind) + ": " + e.Message }

// Unwrap returns the error of the network, TLS or JSON package.
func (e *UnreachableError) Unwrap() error { return e.Err }

// notStavily is the error for an answer that cannot be what it claims.
func (c *Client) notStavily(status int, what string, err error) *UnreachableError {
	return &UnreachableError{
		Kind:       KindNotStavily,
		Message:    fmt.Sprintf("%s %s; is api.base_url the address of the orchestrator's agent API?", c.base, what),
		HTTPStatus: status,
		Err:        err,
	}
}

// redirected refuses to follow: the certificate of another host would be asked to
// vouch for this one, and a token would go where nobody sent it.
func (c *Client) redirected(r *http.Response) *UnreachableError {
	target := printable(r.Header.Get("Location"))
	if target == "" {
		target = "nowhere"
	}
	return c.notStavily(r.StatusCode, fmt.Sprintf("answered %s to %.300q, and redirects are not followed", statusText(r.StatusCode), target), nil)
}

// foreign is the error for an answer that is not JSON as the Agent API has it.
func (c *Client) foreign(r *http.Response) *UnreachableError {
	content, _, _ := strings.Cut(printable(r.Header.Get("Content-Type")), ";")
	if content == "" {
		content = "no content type"
	}
	if encoding := printable(r.Header.Get("Content-Encoding")); encoding != "" {
		content += ", encoded as " + encoding
	}
	kind, remedy := KindNotStavily, "is api.base_url a proxy's or login page's address?"
	switch r.StatusCode {
	case http.StatusProxyAuthRequired, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		kind, remedy = KindProxy, "a proxy or load balancer answered for the orchestrator; is it running behind that?"
	case http.StatusRequestEntityTooLarge:
		kind, remedy = KindProxy, "a proxy in between takes no body of this size: raise its limit to 1 MiB (in nginx: client_max_body_size 1m)"
	}
	return &UnreachableError{
		Kind:       kind,
		Message:    fmt.Sprintf("%s answered %s with %.100s and not the Agent API's JSON: %s", c.base, statusText(r.StatusCode), content, remedy),
		HTTPStatus: r.StatusCode,
		RetryAfter: parseRetryAfter(r.Header, time.Now()),
	}
}
