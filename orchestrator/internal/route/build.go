package route

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/shared/pkg/api"
)

// Principal is who calls. What it says comes from the credential alone: for an agent Org and
// Agent from its certificate, or from a token that the server signed; for a user Org, Name
// and Role from the record of the session or token that was shown.
type Principal struct {
	Kind  Kind
	Org   api.OrgID // empty for the operator socket, which has all
	Agent api.AgentID

	Bearer bool   // an agent that came with a token instead of a certificate
	Late   string // serial of the certificate of an agent, if that has ended and is good for a renewal only

	Name  string       // of a user
	Role  account.Role // Admin on the operator socket
	Token string       // name of the API token that a user's program came with
	Areas []string     // parts of the API that this token is for; none: all
}

func (p Principal) String() string {
	switch {
	case p.Agent != "":
		return string(p.Kind) + " " + string(p.Org) + "/" + string(p.Agent)
	case p.Name != "":
		return string(p.Kind) + " " + string(p.Org) + "/" + p.Name
	}
	return string(p.Kind)
}

// Gate admits agents. It is asked on every request.
type Gate interface {
	// Admit says whose certificate cert is; the TLS handshake has verified its chain.
	// The error is an [*api.Error] for a caller who is refused. The context it returns
	// is cancelled with such an error as its cause when admission is withdrawn;
	// release ends the watch for that and is called exactly once, when err is nil.
	Admit(ctx context.Context, cert *x509.Certificate) (admitted context.Context, p Principal, release func(), err error)
	// AdmitLate does the same for a certificate that the handshake let through although it has
	// ended, if it has: then the principal is Late.
	AdmitLate(ctx context.Context, cert *x509.Certificate) (admitted context.Context, p Principal, release func(), err error)
	// AdmitToken does the same for a token that came instead of a certificate.
	AdmitToken(ctx context.Context, token string) (admitted context.Context, p Principal, release func(), err error)
	// TakesTokens reports whether AdmitToken is to be asked at all.
	TakesTokens() bool
	// Refused records that an admitted caller tried what it may not.
	Refused(ctx context.Context, p Principal, row Row, reason *api.Error)
}

// People recognises users on the web listener. It is asked on every request.
type People interface {
	// Recognise says who comes with a credential of a kind of package account. Its error,
	// context and release are as those of [Gate.Admit].
	Recognise(ctx context.Context, kind, text, address string) (context.Context, account.Caller, func(), error)
}

// Options are what all routes of a listener share.
type Options struct {
	Gate   Gate     // needed by the agent listener only
	People People   // needed by the web listener only
	Hosts  []string // names and addresses by which the web listener may be called
	Logger *slog.Logger
	// ErrorPage makes what a browser shows of an error of a row with Page; nil: JSON.
	ErrorPage func(*Call, *api.Error) *Document
	// Observe hears of each request: its row, how it ended ("ok", "client_gone" or the code
	// of the error), and how long it took, with the time it was held open for. nil hears nothing.
	Observe func(row, outcome string, took time.Duration)
	// Refused hears of requests to the agent listener that are refused before it is known whose
	// they are: the code of the error and the address. nil hears nothing.
	Refused func(code, from string)
	// TooSoon hears of requests to the agent listener that are refused because their caller makes too
	// many, with the context of the request, unless a proxy's connection may have brought it. nil
	// hears nothing.
	TooSoon func(ctx context.Context)
}

// Build makes the handler of a listener. It fails when the table has a row of the
// listener without a handler, or handlers has one without such a row.
func Build(l Listener, handlers map[ID]Handler, o Options) (http.Handler, error) {
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration) {}
	}
	if o.Refused == nil || l != Agents {
		o.Refused = func(string, string) {}
	}
	if o.TooSoon == nil || l != Agents {
		o.TooSoon = func(context.Context) {}
	}
	s := &site{listener: l, tooSoon: o.TooSoon, gate: o.Gate, people: o.People, errorPage: o.ErrorPage, log: o.Logger, observe: o.Observe, refused: o.Refused, flight: newFlight(), pace: newPace(l)}
	rest := maps.Clone(handlers)
	byPattern := map[string]methods{}
	var errs []error
	if l == Agents && o.Gate == nil {
		errs = append(errs, errors.New("routes of agents need a gate"))
	}
	if l == Web && o.People == nil {
		errs = append(errs, errors.New("routes of the web need to know people"))
	}
	for _, row := range table {
		if !row.servedOn(l) {
			continue
		}
		h := rest[row.ID]
		delete(rest, row.ID)
		if h == nil {
			errs = append(errs, fmt.Errorf("route %s: no handler", row.ID))
			continue
		}
		if byPattern[row.Pattern] == nil {
			byPattern[row.Pattern] = methods{}
		}
		byPattern[row.Pattern][row.Method] = &endpoint{row: row, handle: h, site: s}
	}
	for id := range rest {
		errs = append(errs, fmt.Errorf("route %s: a handler but no row of listener %s", id, l))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for pattern, m := range byPattern {
		s.mux.Handle(pattern, s.byMethod(m))
	}
	s.mux.HandleFunc("/", s.notFound)
	if l == Web {
		return front(s, o.Hosts), nil
	}
	return s, nil
}

// site is one listener's routes.
type site struct {
	listener  Listener
	mux       http.ServeMux
	gate      Gate
	people    People
	errorPage func(*Call, *api.Error) *Document
	log       *slog.Logger
	flight    *flight
	pace      *pace
	observe   func(row, outcome string, took time.Duration)
	refused   func(code, from string)
	tooSoon   func(context.Context)
}

// methods are the endpoints of one pattern.
type methods map[string]*endpoint

// ServeHTTP refuses paths that are not canonical before the mux would redirect
// them: clients of this API follow no redirects, and the answer would be HTML.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.Path; p == "" || path.Clean(p) != p {
		s.notFound(w, r)
		return
	}
	if s.listener == Agents && leaf(r) == nil && !s.proxied(r) {
		w.Header().Set("Connection", "close") // who has no certificate is kept no place between requests
	}
	s.mux.ServeHTTP(w, r)
}

// proxied reports whether a request of an agent may have come by the connection of a proxy, which
// others share.
func (s *site) proxied(r *http.Request) bool { return leaf(r) == nil && s.gate.TakesTokens() }

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	newReply(w).fail(api.Errorf(api.CodeNotFound, "Nothing is served at %s %.200q; the paths of this API are in its OpenAPI document.", r.Method, r.URL.Path))
}

func (s *site) byMethod(m methods) http.Handler {
	allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e := m[r.Method]; e != nil {
			e.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		refusal := api.Errorf(api.CodeNotFound, "%s is not served at %.200q; use %s.", r.Method, r.URL.Path, allow)
		refusal.HTTPStatus = http.StatusMethodNotAllowed
		newReply(w).fail(refusal)
	})
}
