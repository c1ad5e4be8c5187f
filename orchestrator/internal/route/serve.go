package route

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/brake"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// transferLimit bounds the reading of one body and the writing of one answer. The
// largest is 2 MiB: a line of 1 Mbit/s takes 17 s for it. Of an upload and of a file it
// bounds each piece.
const transferLimit = 30 * time.Second

// smallLimit bounds the reading of a body of at most 64 KiB: a line of 110 kbit/s takes as long.
const smallLimit = 5 * time.Second

// Handler answers one call. The value becomes the JSON body of a 200; nil is a 204
// without a body; an [Answer] has more to say of it; a [Stream] is written value by value, a
// [*File] in the range that was asked for, a [*Document] as it is. An [*api.Error] becomes the
// answer as it is, any other error a 500 that tells the client nothing.
type Handler func(ctx context.Context, c *Call) (any, error)

// Call is one admitted request with its whole body.
type Call struct {
	Principal Principal
	Token     string // the bearer token, for EnrolmentToken only; redeemed by the handler
	Body      []byte
	Upload    io.Reader // instead of Body, of a row with MaxUpload: read it to its end
	Query     url.Values
	Session   string // the credential of the session that a browser came with, good or not
	request   *http.Request
}

// PathValue is the part of the path that the row's pattern calls name.
func (c *Call) PathValue(name string) string { return c.request.PathValue(name) }

// Decode reads the body, one JSON document, into v. The error is the answer.
func (c *Call) Decode(v any) error {
	if err := limits.UnmarshalJSON(c.Body, v); err != nil {
		return api.Errorf(api.CodeMalformed, "The body is not what this route takes: %v.", err)
	}
	return nil
}

// endpoint serves one row.
type endpoint struct {
	row    Row
	handle Handler
	site   *site
}

// fail answers with an error, in the form that the row's callers read.
func (e *endpoint) fail(reply *reply, r *http.Request, answer *api.Error) {
	if e.row.Page && e.site.errorPage != nil && !reply.begun {
		if page := e.site.errorPage(&Call{request: r, Query: r.URL.Query()}, answer); page != nil && reply.page(page) == nil {
			return
		}
	}
	reply.fail(answer)
}

// internal is all that a client learns of an error that is not its own.
var internal = api.Errorf(api.CodeInternal, "The orchestrator could not do this; its log has the reason under this request id. Try again later.")

// public turns any error into one for the client, and logs what the client is not told.
func (e *endpoint) public(ctx context.Context, log func() *slog.Logger, err error) *api.Error {
	var known *api.Error
	answered := errors.As(err, &known)
	if answered && (known.Status() < 500 || err == error(known)) {
		return known // it says all there is to say
	}
	if ctx.Err() == nil { // else the client went away, and nobody is there to be told
		log().ErrorContext(ctx, "request failed", "error", err)
	}
	if answered {
		return known
	}
	return internal
}

// admit finds out who calls. Which credential counts is the listener's and the row's: the
// operator socket's file permission; on the web a session or an API token; for agents a token
// where the row asks for one, else the certificate.
func (e *endpoint) admit(r *http.Request) (context.Context, *Call, func(), error) {
	c := &Call{request: r, Query: r.URL.Query()}
	switch {
	case slices.Equal(e.row.Allow, nobodyYet):
		c.Principal = Principal{Kind: Anonymous}
		return r.Context(), c, func() {}, nil
	case e.site.listener == Web:
		return e.recognise(r, c)
	case e.site.listener == Operator:
		c.Principal = Principal{Kind: LocalOperator, Role: account.Admin}
		return r.Context(), c, func() {}, nil
	case e.row.Allows(EnrolmentToken):
		c.Token = bearer(r)
		if c.Token == "" {
			return nil, nil, nil, api.Errorf(api.CodeBadToken, "Enrolment needs a token in the header Authorization: Bearer; make one with `stavily tokens create`.")
		}
		c.Principal = Principal{Kind: EnrolmentToken}
		return r.Context(), c, func() {}, nil
	}
	if late := pki.LateCertificate(r.TLS); late != nil {
		ctx, p, release, err := e.site.gate.AdmitLate(r.Context(), late)
		c.Principal = p
		return ctx, c, release, err
	}
	cert := leaf(r)
	if token := bearer(r); cert == nil && token != "" && e.site.gate.TakesTokens() {
		ctx, p, release, err := e.site.gate.AdmitToken(r.Context(), token)
		c.Principal = p
		return ctx, c, release, err
	}
	if cert == nil {
		return nil, nil, nil, api.Errorf(api.CodeNoCertificate, "This route needs the agent's client certificate and none was sent; enrol the agent, and let no proxy in between end TLS.")
	}
	ctx, p, release, err := e.site.gate.Admit(r.Context(), cert)
	c.Principal = p
	return ctx, c, release, err
}

// authorize decides whether the admitted caller may use the row with this path.
func (e *endpoint) authorize(c *Call) *api.Error {
	if !e.row.Allows(c.Principal.Kind) {
		return api.Errorf(api.CodeForbidden, "A %s may not use this route; it is for: %s.", c.Principal.Kind, join(e.row.Allow))
	}
	if e.site.listener != Agents {
		return e.authorizePerson(c)
	}
	if c.Principal.Late != "" && !e.row.Late {
		return api.Errorf(api.CodeBadCertificate, "The certificate has ended: it is good for a renewal and for nothing else.")
	}
	if named := c.PathValue("agent_id"); named != "" && named != string(c.Principal.Agent) {
		return api.Errorf(api.CodeIdentityMismatch, "The caller is agent %q, the path names %.80q; correct the agent's id or enrol it under that name.", c.Principal.Agent, named)
	}
	return nil
}

func join(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func leaf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// bearer returns the credentials of RFC 6750, section 2.1.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// caller is whom requests in flight are counted for: a token is not yet anybody,
// so its requests count for the address, and those of IPv6 for its network.
func caller(p Principal, r *http.Request) string {
	if p.Kind != EnrolmentToken && p.Kind != Anonymous {
		return p.String()
	}
	return brake.Address(address(r))
}

// address is the IP address that a request comes from.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
