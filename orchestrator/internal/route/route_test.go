package route

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testGate admits every certificate as one principal and remembers what it refused.
type testGate struct {
	principal Principal
	withdraw  chan struct{} // closing it withdraws admission; may be nil

	mu      sync.Mutex // guards refused
	refused []api.Code
}

func (g *testGate) Admit(ctx context.Context, _ *x509.Certificate) (context.Context, Principal, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-g.withdraw:
			cancel(api.Errorf(api.CodeRevoked, "Revoked."))
		case <-stop:
		}
	})
	return ctx, g.principal, func() { close(stop); wg.Wait(); cancel(nil) }, nil
}

func (g *testGate) AdmitLate(ctx context.Context, cert *x509.Certificate) (context.Context, Principal, func(), error) {
	return g.Admit(ctx, cert)
}

func (g *testGate) AdmitToken(ctx context.Context, _ string) (context.Context, Principal, func(), error) {
	return g.Admit(ctx, nil)
}

func (g *testGate) TakesTokens() bool { return false }

func (g *testGate) Refused(_ context.Context, _ Principal, _ Row, reason *api.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = append(g.refused, reason.Code)
}

var web01 = Principal{Kind: ActionAgent, Org: "default", Agent: "web-01"}

// handlers answers every route of l with h.
func handlers(l Listener, h Handler) map[ID]Handler {
	all := map[ID]Handler{}
	for _, r := range Table() {
		if r.Listener == l {
			all[r.ID] = h
		}
	}
	return all
}

// serveAgents serves the agents' routes with h as if every request came with a
// verified certificate.
func serveAgents(t *testing.T, g *testGate, log io.Writer, h Handler) *httptest.Server {
	t.Helper()
	site, err := Build(Agents, handlers(Agents, h), Options{Gate: g, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
		site.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func nothing(context.Context, *Call) (any, error) { return nil, nil }

// send makes a request and returns its answer with the error in it, if it is one.
func send(t *testing.T, srv *httptest.Server, method, path string, body io.Reader, header ...string) (*http.Response, *api.Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := *srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	var e api.ErrorBody
	if err := json.Unmarshal(text, &e); err != nil || e.Error == nil {
		t.Fatalf("%s %s: %s with the body %q, want a JSON error", method, path, resp.Status, text)
	}
	if e.Error.RequestID == "" || e.Error.RequestID != resp.Header.Get("X-Request-Id") {
		t.Errorf("%s %s: request id %q in the body, %q in the header", method, path, e.Error.RequestID, resp.Header.Get("X-Request-Id"))
	}
	if !strings.HasSuffix(strings.TrimSpace(e.Error.Message), ".") {
		t.Errorf("%s %s: message %q is no sentence", method, path, e.Error.Message)
	}
	return resp, e.Error
}

func TestTable(t *testing.T) {
	var withoutCertificate, withoutLogin []ID
	seen := map[string]bool{}
	for _, r := range Table() {
		key := string(r.Listener) + r.Method + r.Pattern
		if seen[key] || seen[r.ID.String()] {
			t.Errorf("%s: twice in the table", r.ID)
		}
		seen[key], seen[r.ID.String()] = true, true
		if len(r.Allow) == 0 {
			t.Errorf("%s: allows nobody: a row names its callers", r.ID)
		}
		if needs := r.Role != account.Nobody; needs == r.Allows(Anonymous) && r.Listener != Agents || r.Listener == Agents && needs {
			t.Errorf("%s: allows %v and needs the role %q", r.ID, r.Allow, r.Role)
		}
		if r.Allows(Anonymous) {
			withoutLogin = append(withoutLogin, r.ID)
		}
		if r.InFlight < 1 {
			t.Errorf("%s: nobody can call it", r.ID)
		}
		switch {
		case r.Listener == Operator && !r.Allows(LocalOperator), r.Listener == Agents && r.Allows(LocalOperator):
			t.Errorf("%s: allows %v on listener %s", r.ID, r.Allow, r.Listener)
		case r.Listener == Agents && !r.Allows(EnrolmentToken) && (r.Rate <= 0 || r.Burst < 1):
			t.Errorf("%s: an agent may call it as often as it likes", r.ID)
		case r.Allows(EnrolmentToken):
			withoutCertificate = append(withoutCertificate, r.ID)
		case r.Listener == Agents && !strings.Contains(r.Pattern, "/{agent_id}/"):
			t.Errorf("%s: its path does not name the agent", r.ID)
		}
	}
	if want := []ID{SessionBegin, SessionAccept, SessionEnd, WebhookTake, WebAsset, WebLogin, WebLoginDo, OpenIDBegin, OpenIDBack, WebLogout, WebWelcome, WebWelcomeDo}; !slices.Equal(withoutLogin, want) {
		t.Errorf("routes %v need no login, want %v", withoutLogin, want)
	}
	if want := []ID{Enroll, Download}; !slices.Equal(withoutCertificate, want) {
		t.Errorf("routes %v need no certificate, want %v: all that a token is for", withoutCertificate, want)
	}
}

func TestBuildIsClosed(t *testing.T) {
	for name, change := range map[string]func(map[ID]Handler){
		"row without handler":         func(m map[ID]Handler) { delete(m, Events) },
		"handler of another listener": func(m map[ID]Handler) { m[TokenCreate] = nothing },
		"handler without a row":       func(m map[ID]Handler) { m[ID{}] = nothing },
	} {
		m := handlers(Agents, nothing)
		if _, err := Build(Agents, m, Options{Gate: &testGate{}}); err != nil {
			t.Fatal(err)
		}
		change(m)
		if _, err := Build(Agents, m, Options{Gate: &testGate{}}); err == nil {
			t.Errorf("%s: Build succeeded", name)
		}
	}
	if _, err := Build(Agents, handlers(Agents, nothing), Options{}); err == nil {
		t.Error("no gate: Build succeeded")
	}
}

func TestPathsThatAreNotServed(t *testing.T) {
	srv := serveAgents(t, &testGate{principal: web01}, io.Discard, nothing)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404},
		{"GET", "/agents/v1/web-01/nothing", 404},
		{"GET", "//agents/v1/web-01/instructions", 404}, // a mux of net/http would redirect, with HTML
		{"GET", "/agents/v1/web-01/instructions/", 404},
		{"GET", "/agents/v1/x/../web-01/instructions", 404},
		{"DELETE", "/agents/v1/web-01/instructions", 405},
		{"GET", "/api/v1/tokens", 404}, // of the operators' listener
	} {
		resp, _ := send(t, srv, c.method, c.path, nil)
		if resp.StatusCode != c.want {
			t.Errorf("%s %s = %d, want %d", c.method, c.path, resp.StatusCode, c.want)
		}
	}
	if resp, _ := send(t, srv, "DELETE", "/agents/v1/web-01/instructions", nil); resp.Header.Get("Allow") != "GET" {
		t.Errorf("Allow = %q, want GET", resp.Header.Get("Allow"))
	}
}

func TestWhoMay(t *testing.T) {
	g := &testGate{principal: web01}
	srv := serveAgents(t, g, io.Discard, nothing)
	for _, c := range []struct {
		method, path string
		want         api.Code
	}{
		{"GET", "/agents/v1/web-01/instructions", ""},
		{"GET", "/agents/v1/web-02/instructions", api.CodeIdentityMismatch},
		{"POST", "/agents/v1/web-01/events", api.CodeForbidden},
		{"POST", "/agents/v1/enroll", api.CodeBadToken},
	} {
		_, err := send(t, srv, c.method, c.path, nil)
		if err == nil && c.want != "" || err != nil && err.Code != c.want {
			t.Errorf("%s %s = %v, want %q", c.method, c.path, err, c.want)
		}
	}
	if len(g.refused) != 2 {
		t.Errorf("the gate was told of %v, want the two refusals of the agent", g.refused)
	}
}

func zipped(t *testing.T, size int) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestBodies(t *testing.T) {
	var got int
	srv := serveAgents(t, &testGate{principal: web01}, io.Discard, func(_ context.Context, c *Call) (any, error) {
		got = len(c.Body)
		return nil, nil
	})
	chunked := func(size int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, size))) } // length unknown to the client
	for name, c := range map[string]struct {
		path     string
		body     io.Reader
		encoding string
		want     int
		length   int
	}{
		"as it is":              {"heartbeat", bytes.NewReader(make([]byte, 100)), "", 204, 100},
		"none":                  {"heartbeat", nil, "", 204, 0},
		"at the limit":          {"heartbeat", bytes.NewReader(make([]byte, large)), "", 204, large},
		"over the limit":        {"heartbeat", bytes.NewReader(make([]byte, large+1)), "", 413, 0},
		"chunked at the limit":  {"heartbeat", chunked(large), "", 204, large},
		"chunked over it":       {"heartbeat", chunked(large + 1), "", 413, 0},
		"gzip at the limit":     {"heartbeat", zipped(t, large), "gzip", 204, large},
		"gzip that expands":     {"heartbeat", zipped(t, 10<<20), "gzip", 413, 0},
		"gzip that is none":     {"heartbeat", strings.NewReader("{}"), "gzip", 400, 0},
		"an unknown encoding":   {"heartbeat", strings.NewReader("{}"), "br", 400, 0},
		"gzip where none taken": {"certificate", zipped(t, 10), "gzip", 400, 0},
	} {
		got = 0
		resp, _ := send(t, srv, "POST", "/agents/v1/web-01/"+c.path, c.body, "Content-Encoding", c.encoding)
		if resp.StatusCode != c.want || got != c.length {
			t.Errorf("%s: %d with %d bytes at the handler, want %d with %d", name, resp.StatusCode, got, c.want, c.length)
		}
	}
}

func TestErrors(t *testing.T) {
	var fail func() error
	var log bytes.Buffer
	srv := serveAgents(t, &testGate{principal: web01}, &log, func(context.Context, *Call) (any, error) { return nil, fail() })
	for name, c := range map[string]struct {
		fail   func() error
		want   int
		logged bool
	}{
		"one of ours":     {func() error { return api.Errorf(api.CodeConflict, "Stale.") }, 409, false},
		"anything else":   {func() error { return errors.New("secret detail") }, 500, true},
		"a panic":         {func() error { panic("secret detail") }, 500, true},
		"a wrapped ours":  {func() error { return errors.Join(errors.New("secret detail"), api.Errorf(api.CodeInvalid, "No.")) }, 422, false},
		"try again later": {func() error { return api.Errorf(api.CodeUnavailable, "Later.") }, 503, false},
		"and why": {func() error {
			return errors.Join(api.Errorf(api.CodeUnavailable, "Later."), errors.New("secret detail"))
		}, 503, true},
	} {
		fail = c.fail
		log.Reset()
		resp, e := send(t, srv, "GET", "/agents/v1/web-01/instructions", nil)
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.want)
		}
		if strings.Contains(e.Message, "secret") {
			t.Errorf("%s: the client was told %q", name, e.Message)
		}
		if c.logged != (strings.Contains(log.String(), "secret detail") && strings.Contains(log.String(), e.RequestID)) {
			t.Errorf("%s: the log has %q", name, log.String())
		}
	}
}

func TestInFlight(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, few)
	srv := serveAgents(t, &testGate{principal: web01}, io.Discard, func(context.Context, *Call) (any, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	})
	var wg sync.WaitGroup
	for range few {
		wg.Go(func() { send(t, srv, "GET", "/agents/v1/web-01/instructions", nil) })
	}
	for range few {
		<-entered
	}
	resp, e := send(t, srv, "GET", "/agents/v1/web-01/instructions", nil)
	if e == nil || e.Code != api.CodeRateLimited || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("one request more = %v, Retry-After %q; want rate_limited and 1", e, resp.Header.Get("Retry-After"))
	}
	close(release)
	wg.Wait()
	if _, e := send(t, srv, "GET", "/agents/v1/web-01/instructions", nil); e != nil {
		t.Errorf("after the others ended: %v", e)
	}
}

// TestRate: who calls all the time is held up, another is not, and it is over soon.
func TestRate(t *testing.T) {
	row, p := Row{ID: Logs, Rate: 20, Burst: 200}, newPace(Agents)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	let := 0
	for range 1000 { // in ten seconds
		if p.enter(row, "web-01", now) == nil {
			let++
		}
		now = now.Add(10 * time.Millisecond)
	}
	if let < 390 || let > 410 {
		t.Errorf("%d of 1000 in ten seconds, want 200 and 20 a second", let)
	}
	var refusal *api.Error
	if err := p.enter(row, "web-01", now); !errors.As(err, &refusal) || refusal.Code != api.CodeRateLimited || refusal.RetryAfter != time.Second {
		t.Errorf("one more: %v, want rate_limited and a second", err)
	}
	if err := p.enter(row, "web-02", now); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if err := p.enter(row, "web-01", now.Add(time.Second)); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// TestAFloodOfEventsIsRefused: of ten thousand calls in a second those of the burst are let through,
// and a hundred.
func TestAFloodOfEventsIsRefused(t *testing.T) {
	row := Table()[slices.IndexFunc(Table(), func(r Row) bool { return r.ID == Events })]
	p, now, let := newPace(Agents), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), 0
	for range 10_000 {
		if p.enter(row, "web-01", now) == nil {
			let++
		}
		now = now.Add(100 * time.Microsecond)
	}
	if let < 298 || let > 301 {
		t.Errorf("%d are let through, want 300", let)
	}
}

// TestGuessesAtOnceArePaidFor: whoever has several guesses looked at together, whenever there is one
// to be had, waits for all of them before the next.
func TestGuessesAtOnceArePaidFor(t *testing.T) {
	row := Table()[slices.IndexFunc(Table(), func(r Row) bool { return r.ID == Enroll })]
	p, now := newPace(Agents), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	wrong := api.Errorf(api.CodeUnauthenticated, "no token")
	for range guessBurst {
		p.left(row, "192.0.2.1", now, wrong)
	}
	const second = time.Second / guessPerSecond
	now = now.Add(second)
	for range 4 {
		if err := p.enter(row, "192.0.2.1", now); err != nil {
			t.Fatalf("a guess is held up when there is one: %v", err)
		}
	}
	for range 4 {
		p.left(row, "192.0.2.1", now, wrong)
	}
	if p.enter(row, "192.0.2.1", now.Add(3*second)) == nil {
		t.Error("of four at once three were free")
	}
	if err := p.enter(row, "192.0.2.1", now.Add(4*second)); err != nil {
		t.Errorf("when all are paid for: %v", err)
	}
}

// TestWhoComesTooSoonIsToldOf: the listener hears of it before anything of the body was read, unless
// the connection may be a proxy's, which others share.
func TestWhoComesTooSoonIsToldOf(t *testing.T) {
	row := Table()[slices.IndexFunc(Table(), func(r Row) bool { return r.ID == Logs })]
	for name, c := range map[string]struct {
		chains [][]*x509.Certificate
		want   int
	}{"its own": {[][]*x509.Certificate{{{}}}, 3}, "a proxy's": {nil, 0}} {
		told := 0
		site, err := Build(Agents, handlers(Agents, nothing), Options{
			Gate: proxied{&testGate{principal: web01}}, Logger: slog.New(slog.DiscardHandler), TooSoon: func(context.Context) { told++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		// In here no time passes, in which one more might be let in.
		synctest.Test(t, func(t *testing.T) {
			ask := func(body io.Reader) int {
				r := httptest.NewRequestWithContext(t.Context(), row.Method, "/agents/v1/web-01/logs", body)
				r.Header.Set("Authorization", "Bearer token")
				r.TLS = &tls.ConnectionState{VerifiedChains: c.chains}
				w := deadlines{httptest.NewRecorder()}
				site.ServeHTTP(w, r)
				return w.Code
			}
			for range row.Burst {
				if got := ask(strings.NewReader("{}")); got != http.StatusNoContent || told != 0 {
					t.Fatalf("%s: a request of the burst is answered %d, and %d are told of", name, got, told)
				}
			}
			for range 3 {
				if got := ask(iotest.ErrReader(errors.New("the body was read"))); got != http.StatusTooManyRequests {
					t.Errorf("%s: one too soon is answered %d", name, got)
				}
			}
			if told != c.want {
				t.Errorf("the connection is %s: %d of 3 are told of, want %d", name, told, c.want)
			}
		})
	}
}

// proxied is a gate of a server that is behind a proxy.
type proxied struct{ *testGate }

func (proxied) TakesTokens() bool { return true }

// deadlines is a recorder that takes them, as a connection does.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// TestStrangersKeepNoConnection: who shows no certificate gets an answer, and no place to wait in
// for the next request.
func TestStrangersKeepNoConnection(t *testing.T) {
	site, err := Build(Agents, handlers(Agents, nothing), Options{Gate: &testGate{principal: web01}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for closes, chains := range map[bool][][]*x509.Certificate{true: nil, false: {{{}}}} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.TLS = &tls.ConnectionState{VerifiedChains: chains}
			site.ServeHTTP(w, r)
		}))
		defer srv.Close()
		if resp, _ := send(t, srv, "GET", "/agents/v1/nothing", nil); resp.Close != closes {
			t.Errorf("with %d certificates the connection is closed: %v, want %v", len(chains), resp.Close, closes)
		}
	}
}

// TestASmallBodyHasLittleTime: who sends it byte by byte is answered, and cut off, after five
// seconds.
func TestASmallBodyHasLittleTime(t *testing.T) {
	t.Parallel()
	srv := serveAgents(t, &testGate{principal: web01}, io.Discard, nothing)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	if _, err := io.WriteString(c, "POST /agents/v1/web-01/certificate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(begin.Add(2 * smallLimit)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestTimeout || time.Since(begin) < smallLimit-time.Second {
		t.Errorf("answered %d after %v, want 408 after %v", answer.StatusCode, time.Since(begin), smallLimit)
	}
}

// TestGuessesAreHeldUp: refused tokens count for the address they come from, good ones do not.
func TestGuessesAreHeldUp(t *testing.T) {
	good := true
	srv := serveAgents(t, &testGate{}, io.Discard, func(context.Context, *Call) (any, error) {
		if good {
			return nil, nil
		}
		return nil, api.Errorf(api.CodeBadToken, "No such token; make one.")
	})
	enroll := func() *api.Error {
		_, e := send(t, srv, "POST", api.PathEnroll, strings.NewReader("{}"), "Authorization", "Bearer x")
		return e
	}
	for range 3 * guessBurst {
		if e := enroll(); e != nil {
			t.Fatalf("a good token: %v", e)
		}
	}
	good = false
	refused, held := 0, 0
	for range 2 * guessBurst {
		switch e := enroll(); e.Code {
		case api.CodeBadToken:
			refused++
		case api.CodeRateLimited:
			held++
		default:
			t.Fatal(e)
		}
	}
	if refused < guessBurst || refused > guessBurst+5 || held == 0 {
		t.Errorf("%d guesses were answered and %d held up, want %d answered", refused, held, guessBurst)
	}
}

func TestWithdrawnAdmissionEndsARequestThatWaits(t *testing.T) {
	g := &testGate{principal: web01, withdraw: make(chan struct{})}
	srv := serveAgents(t, g, io.Discard, func(ctx context.Context, _ *Call) (any, error) {
		close(g.withdraw)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	begin := time.Now()
	_, e := send(t, srv, "GET", "/agents/v1/web-01/instructions", nil)
	if e == nil || e.Code != api.CodeRevoked || time.Since(begin) > time.Second {
		t.Errorf("got %v after %s, want agent_revoked within a second", e, time.Since(begin))
	}
}

func TestStream(t *testing.T) {
	site, err := Build(Operator, handlers(Operator, func(context.Context, *Call) (any, error) {
		return Stream(func(_ context.Context, emit func(any) error) error {
			return errors.Join(emit(map[string]int{"n": 1}), emit(map[string]int{"n": 2}))
		}), nil
	}), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(site)
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/api/v1/events/follow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if want := "{\"n\":1}\n{\"n\":2}\n"; err != nil || string(text) != want {
		t.Errorf("stream = %q, %v, want %q", text, err, want)
	}
}
