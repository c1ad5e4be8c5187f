package agentapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	// maxWait is the longest poll of an agent that says something on its connection meanwhile, as
	// HTTP/2 does by its pings. All else is held for engine.HeardWithin.
	maxWait = 290 * time.Second

	// maxInstructions is how many one poll hands out: as many as an agent runs at once.
	maxInstructions = 16

	// idlePollInterval and busyPollInterval tell a plain poller when to come again.
	idlePollInterval = 10
	busyPollInterval = 5
)

// Handler returns the handler of the agents' listener. refused hears of requests that are refused
// before it is known whose they are; nil hears nothing.
func Handler(e *engine.Engine, log *slog.Logger, refused func(reason, from string)) (http.Handler, error) {
	return route.Build(route.Agents, map[route.ID]route.Handler{
		route.Enroll:       enroll(e),
		route.Renew:        renew(e),
		route.Refresh:      refresh(e),
		route.Download:     download(e),
		route.Heartbeat:    taking(e.Heartbeat),
		route.Instructions: poll(e),
		route.Progress:     about(e.Progress),
		route.Result:       about(e.Result),
		route.Events:       taking(e.Events),
		route.Logs:         taking(e.Logs),
		route.Assignments:  whenChanged(e.Assignments),
		route.Monitors:     whenChanged(e.Monitors),
		route.Package:      packageFile(e),
	}, route.Options{Gate: gate{e}, Logger: log, Observe: e.Served, Refused: refused, TooSoon: holdUp})
}

// gate lets the engine admit agents.
type gate struct{ engine *engine.Engine }

func (g gate) Admit(ctx context.Context, cert *x509.Certificate) (context.Context, route.Principal, func(), error) {
	admitted, id, release, err := g.engine.Admit(ctx, cert)
	if err != nil {
		return nil, route.Principal{Kind: route.Anonymous}, nil, err
	}
	authenticated(ctx)
	return admitted, principal(id), release, nil
}

func (g gate) AdmitLate(ctx context.Context, cert *x509.Certificate) (context.Context, route.Principal, func(), error) {
	late, id, err := g.engine.AdmitLate(ctx, cert)
	switch {
	case err != nil:
		return nil, route.Principal{Kind: route.Anonymous}, nil, err
	case !late:
		return g.Admit(ctx, cert)
	}
	p := principal(id)
	p.Late = ca.Serial(cert)
	return ctx, p, func() {}, nil
}

func (g gate) AdmitToken(ctx context.Context, token string) (context.Context, route.Principal, func(), error) {
	admitted, id, release, err := g.engine.AdmitToken(ctx, token)
	if err != nil {
		return nil, route.Principal{Kind: route.Anonymous}, nil, err
	}
	authenticated(ctx)
	p := principal(id)
	p.Bearer = true
	return admitted, p, release, nil
}

func (g gate) TakesTokens() bool { return g.engine.TakesTokens() }

func (g gate) Refused(ctx context.Context, p route.Principal, row route.Row, reason *api.Error) {
	g.engine.Refused(ctx, identity(p), row.ID.String(), reason)
}

func principal(id pki.Identity) route.Principal {
	kind := route.ActionAgent
	if id.Type == api.Sensor {
		kind = route.SensorAgent
	}
	return route.Principal{Kind: kind, Org: id.Org, Agent: id.Agent}
}

func identity(p route.Principal) pki.Identity {
	typ := api.Action
	if p.Kind == route.SensorAgent {
		typ = api.Sensor
	}
	return pki.Identity{Org: p.Org, Type: typ, Agent: p.Agent}
}

// taking makes a handler of a call by an agent that takes a document.
func taking[In, Out any](call func(context.Context, pki.Identity, In) (Out, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		var in In
		if err := c.Decode(&in); err != nil {
			return nil, err
		}
		return call(ctx, identity(c.Principal), in)
	}
}

// about makes a handler of a call by an agent that takes a document about the
// instruction that the path names.
func about[In, Out any](call func(context.Context, pki.Identity, api.InstructionID, In) (Out, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		return taking(func(ctx context.Context, id pki.Identity, in In) (Out, error) {
			return call(ctx, id, api.InstructionID(c.PathValue("id")), in)
		})(ctx, c)
	}
}

// renew is for those who have a certificate: a token that was stolen must not become one.
func renew(e *engine.Engine) route.Handler {
	call := taking(e.Renew)
	return func(ctx context.Context, c *route.Call) (any, error) {
		switch {
		case c.Principal.Bearer:
			return nil, api.Errorf(api.CodeForbidden, "A token does not become a certificate; enrol the agent with `stavily tokens create` for that.")
		case c.Principal.Late != "":
			return taking(func(ctx context.Context, id pki.Identity, r api.CertificateRequest) (api.EnrollResponse, error) {
				return e.RenewLate(ctx, id, c.Principal.Late, r)
			})(ctx, c)
		}
		return call(ctx, c)
	}
}

func refresh(e *engine.Engine) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		if !c.Principal.Bearer {
			return nil, api.Errorf(api.CodeForbidden, "Only an agent that came with a token gets the next one, and this one has a certificate.")
		}
		return e.RefreshToken(ctx, identity(c.Principal))
	}
}

// download serves the files that scripts of the original README fetch.
func download(e *engine.Engine) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		file := c.PathValue("file")
		content, err := e.Download(ctx, c.Token, file)
		if err != nil {
			return nil, err
		}
		kind := "application/x-pem-file"
		if strings.HasSuffix(file, ".gz") {
			kind = "application/gzip"
		}
		return &route.File{Content: inMemory{bytes.NewReader(content)}, Tag: rand.Text(), Type: kind}, nil
	}
}

// inMemory is a file that needs no closing.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func enroll(e *engine.Engine) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		var r api.EnrollRequest
		if err := c.Decode(&r); err != nil {
			return nil, err
		}
		return e.Enroll(ctx, c.Token, r)
	}
}

// poll answers 204 when a client that sent wait gets nothing; one that did not is
// told when to come again.
func poll(e *engine.Engine) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		seconds, err := number(c, "wait", 0)
		if err != nil {
			return nil, err
		}
		most, err := number(c, "max", 1)
		if err != nil {
			return nil, err
		}
		wait := min(time.Duration(seconds)*time.Second, maxWait)
		most = min(max(most, 1), maxInstructions)
		p, err := e.BeginPoll(ctx, identity(c.Principal), wait, most, c.Query.Get("assignments"), silence(ctx, c.Principal))
		if err != nil {
			return nil, err
		}
		return (&polling{p, c.Query.Get("assignments"), wait > 0, most > 1}).begin(ctx)
	}
}

// polling is a poll whose answer is held.
type polling struct {
	*engine.Polling
	known string
	waits bool
	many  bool
}

// begin is the answer at once, or else the poll, which ends with the request.
func (p *polling) begin(ctx context.Context) (v any, err error) {
	defer func() {
		if v != any(p) {
			p.End()
		}
	}()
	return p.Answer(ctx)
}

func (p *polling) Answer(ctx context.Context) (any, error) {
	over, err := p.Look(ctx)
	if err != nil {
		return nil, err
	}
	if !over {
		return p, nil
	}
	answer := api.PollResponse{Status: api.StatusNoInstructions, NextPollInterval: idlePollInterval}
	if p.Version != p.known {
		answer.AssignmentsVersion = p.Version
	}
	switch {
	case len(p.Offers) == 0 && p.waits && answer.AssignmentsVersion == "":
		return nil, nil
	case len(p.Offers) == 0:
		return answer, nil
	}
	answer.Instruction, answer.Status, answer.NextPollInterval = &p.Offers[0], api.StatusDelivered, busyPollInterval
	if p.many {
		answer.Instructions = p.Offers
	}
	return answer, nil
}

// whenChanged makes a handler of a call for a set, which answers 204 when that is still the one
// that the agent knows.
func whenChanged[Set any](call func(ctx context.Context, id pki.Identity, known string, wait time.Duration) (Set, bool, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		seconds, err := number(c, "wait", 0)
		if err != nil {
			return nil, err
		}
		known := c.Query.Get("version")
		set, changed, err := call(ctx, identity(c.Principal), known, min(time.Duration(seconds)*time.Second, engine.HeardWithin))
		if err != nil || !changed {
			return nil, err
		}
		return set, nil
	}
}

func packageFile(e *engine.Engine) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		p, f, err := e.PackageFile(ctx, identity(c.Principal), api.PluginID(c.PathValue("plugin_id")), c.PathValue("version"))
		if err != nil {
			return nil, err
		}
		header := map[string]string{api.HeaderDigest: p.Digest}
		if p.Signature != "" {
			header[api.HeaderSignature] = p.Signature
		}
		return &route.File{Content: f, Tag: p.Digest, Type: "application/gzip", Header: header}, nil
	}
}

// number reads a query parameter: a whole number from 0 to 86400, or absent.
func number(c *route.Call, name string, absent int) (int, error) {
	text := c.Query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 86400 {
		return 0, api.Errorf(api.CodeInvalid, "Query parameter %s=%.40q: must be a whole number from 0 to 86400.", name, text)
	}
	return n, nil
}
