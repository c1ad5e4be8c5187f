package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// DefaultTimeout is the time for one call, beside the wait of a poll.
const DefaultTimeout = 30 * time.Second

// ClientOptions are the settings of a client. BaseURL, TLS and Agent are needed.
type ClientOptions struct {
	BaseURL string      // https://host[:port][/prefix] of the orchestrator
	TLS     *tls.Config // copied
	Agent   AgentID     // stands in every path but that of enrolment

	Token func() string // asked at each call for what stands for a certificate (JWT); nil: there is a certificate

	// Transport carries the calls instead of connections of the client's own, which are made
	// with TLS: for where a network is simulated. nil: they are.
	Transport http.RoundTripper

	Timeout   time.Duration // of one call from connecting to the last byte; 0: DefaultTimeout
	UserAgent string        // "": stavily/<version>

	RequestsPerSecond float64 // of all calls but heartbeats and renewals; 0: no limit
	Burst             int     // calls that may come at once under that limit; less than 1: 1

	// Observe hears of every call that was sent: its path pattern, how long it took, and how
	// it ended. nil hears nothing. It is called from any goroutine.
	Observe func(method, path string, took time.Duration, err error)
}

// Client speaks the Agent API for one agent. Every call is one request: the client
// never retries what it sent, because only its caller knows what to do meanwhile;
// see [Retryable] and [Backoff].
//
// An answer is bounded in size and checked before the caller gets it, so a nil error
// means that the orchestrator did what was asked. Errors are
//
//   - *[Error]: the orchestrator answered, and refused;
//   - *[UnreachableError]: no answer of the Agent API came, with the reason;
//   - wrapping ctx.Err(): the caller's context ended;
//   - others: the request could not be made, a mistake in the caller's arguments.
//
// All calls go over one HTTP/2 connection, which is asked for signs of life while it waits, through
// the proxy that the environment names (HTTPS_PROXY, NO_PROXY). A server without
// HTTP/2 is served as well. A Client is safe for concurrent use.
type Client struct {
	base      *url.URL
	agent     AgentID
	observe   func(method, path string, took time.Duration, err error)
	timeout   atomic.Int64 // a time.Duration
	userAgent string
	token     func() string
	limiter   *rate.Limiter
	transport http.RoundTripper
	link      atomic.Pointer[link] // swapped by Reconnect
}

// NewClient makes a client. It connects to nothing yet.
func NewClient(o ClientOptions) (*Client, error) {
	base, err := parseBaseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("api.base_url %.200q: %w", o.BaseURL, err)
	}
	if o.TLS == nil {
		return nil, errors.New("make API client: no TLS settings")
	}
	if err := o.Agent.Validate(); err != nil {
		return nil, fmt.Errorf("make API client: %w", err)
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration, error) {}
	}
	c := &Client{base: base, agent: o.Agent, userAgent: o.UserAgent, observe: o.Observe, token: o.Token, transport: o.Transport}
	c.limiter = rate.NewLimiter(rate.Inf, max(o.Burst, 1)) // full, as after a pause
	if c.userAgent == "" {
		c.userAgent = "stavily/" + Version
	}
	c.Tune(o.Timeout, o.RequestsPerSecond, o.Burst)
	c.Reconnect(o.TLS)
	return c, nil
}

// Tune changes the limits that ClientOptions set. They count for calls that begin
// afterwards.
func (c *Client) Tune(timeout time.Duration, perSecond float64, burst int) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	c.timeout.Store(int64(timeout))
	every := rate.Inf
	if perSecond > 0 {
		every = rate.Limit(perSecond)
	}
	c.limiter.SetBurst(max(burst, 1))
	c.limiter.SetLimit(every)
}

// limit is the time for one call.
func (c *Client) limit() time.Duration { return time.Duration(c.timeout.Load()) }

func parseBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(raw, "/"))
	switch {
	case err != nil:
		return nil, errors.New("is not a URL; write it as https://host:port")
	case u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("must be https://host or https://host:port")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("must have no user, query or fragment")
	}
	return u, nil
}

// Reconnect lets the calls that follow make a new connection with these TLS
// settings; those in flight end on the old one, and one of them that the server refuses
// because it has seen the new certificate before is made again. It is needed after a
// certificate was renewed: a connection keeps the certificate that it was opened with,
// and one with an open poll is never idle.
func (c *Client) Reconnect(t *tls.Config) {
	next := newLink(t, pingAfter, pingTimeout)
	if c.transport != nil {
		next.http.Transport = c.transport
	}
	if old := c.link.Swap(next); old != nil {
		old.http.CloseIdleConnections()
	}
}

// CloseIdle closes the connection unless a call is in flight. A later call makes a
// new one.
func (c *Client) CloseIdle() { c.link.Load().http.CloseIdleConnections() }

// Enroll asks for the first certificate with a one-time token. The same token, key
// and agent get the same certificate again, so a lost answer is asked for again.
func (c *Client) Enroll(ctx context.Context, token string, r EnrollRequest) (EnrollResponse, error) {
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return EnrollResponse{}, errors.New("enrolment token: must be one word of printable ASCII; make one with `stavily tokens create`")
	}
	return exchange(ctx, c, call{method: http.MethodPost, path: PathEnroll, token: token, body: r}, c.checkEnrolled)
}

// Renew asks for a fresh certificate of the same identity over the one in use. It is
// exempt from the rate limit: an agent busy with work must not lose its identity.
func (c *Client) Renew(ctx context.Context, r CertificateRequest) (EnrollResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathCertificate, body: r, unlimited: true}, c.checkEnrolled)
}

// RenewLate asks for one over a certificate that has ended, which an orchestrator with a grace
// takes for this alone: the agent is in quarantine with the new one until an admin approves.
// An orchestrator without one refuses the connection, as it does all of this agent's.
func (c *Client) RenewLate(ctx context.Context, r CertificateRequest) (EnrollResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathCertificate, body: r, unlimited: true, late: true}, c.checkEnrolled)
}

// Refresh asks for the next token with the one in use, for an agent that has no
// certificate. Like a renewal it is exempt from the rate limit.
func (c *Client) Refresh(ctx context.Context) (TokenResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathToken, unlimited: true}, checkToken)
}

// Heartbeat tells that the agent lives. It is exempt from the rate limit: an agent
// busy with work must not look dead. Nor must one with much to say: what it says of one
// thing is cut to [MaxHeartbeatMessage]. The response is zero when the server answered 204.
func (c *Client) Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathHeartbeat, body: h.bounded(), unlimited: true, mayBeEmpty: true}, checkHeartbeat)
}

// Progress claims the start of an instruction or tells how far it is. After an error
// of a claim the plugin must not be started.
func (c *Client) Progress(ctx context.Context, id InstructionID, p Progress) (ProgressResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPut, path: PathInstruction, id: id, body: p},
		func(r ProgressResponse) error { return checkProgress(r, id) })
}

// Result hands in how an instruction ended. Repeating it is harmless. It waits for no rate limit, as the
// instruction's lease runs on: what comes later waits for it.
func (c *Client) Result(ctx context.Context, id InstructionID, r Result) (ResultResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathResult, id: id, body: r, first: true}, checkResult)
}

// Events hands in a batch, compressed when it is large. A nil error means that every
// event of it is settled: acknowledged by AckedThrough or with an outcome of its own,
// which may be that it was rejected.
func (c *Client) Events(ctx context.Context, b EventBatch) (EventBatchResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathEvents, body: b, compress: true},
		func(r EventBatchResponse) error { return checkEvents(r, b) })
}

// Logs hands in entries of plugins' logs.
func (c *Client) Logs(ctx context.Context, b LogBatch) (LogBatchResponse, error) {
	return exchange(ctx, c, call{method: http.MethodPost, path: PathLogs, body: b},
		func(r LogBatchResponse) error { return checkLogs(r, b) })
}
