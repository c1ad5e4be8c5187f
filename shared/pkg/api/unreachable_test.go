package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// expect checks the kind of an error and that its sentence has all the words.
func expect(t *testing.T, err error, kind api.Kind, words ...string) {
	t.Helper()
	var u *api.UnreachableError
	if !errors.As(err, &u) {
		t.Fatalf("error %v (%T), want an *api.UnreachableError", err, err)
	}
	if u.Kind != kind {
		t.Errorf("kind %s, want %s: %v", u.Kind, kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if u.HTTPStatus < 400 && !api.Retryable(err) {
		t.Errorf("%q is not retryable", err)
	}
}

// listen runs one connection handler on plain TCP until the test ends.
func listen(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestNetworkTrouble(t *testing.T) {
	s := newStand(t)
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		expect(t, beat(t.Context(), dial(t, "https://"+l.Addr().String(), s.client)), api.KindNetwork, "refused", "is the orchestrator running", l.Addr().String())
	})
	t.Run("reset", func(t *testing.T) {
		addr := listen(t, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) })
		expect(t, beat(t.Context(), dial(t, "https://"+addr, s.client)), api.KindNetwork, addr)
	})
	t.Run("silence in the handshake", func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		addr := listen(t, func(net.Conn) { <-end })
		c := dial(t, "https://"+addr, s.client)
		api.ReconnectWith(c, s.client, time.Second, time.Second, 100*time.Millisecond)
		expect(t, beat(t.Context(), c), api.KindNetwork, "said nothing", "port of the agent API")
	})
	t.Run("no answer", func(t *testing.T) {
		_, c := both(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, within(200*time.Millisecond))
		expect(t, beat(t.Context(), c), api.KindNetwork, "no whole answer in time", "200ms")
	})
	for name, protos := range map[string][]string{"HTTP/1.1": {"http/1.1"}, "HTTP/2": {"h2"}} {
		t.Run("the answer breaks off, "+name, func(t *testing.T) {
			conf := s.server.Clone()
			conf.NextProtos = protos
			srv := serve(t, conf, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", "1000")
				io.WriteString(w, `{"server_time":`)
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}))
			expect(t, beat(t.Context(), dial(t, srv.url, s.client)), api.KindNetwork, strings.TrimPrefix(srv.url, "https://"))
		})
	}
}

// TestNames asks a name server of our own, with every answer that one can give.
func TestNames(t *testing.T) {
	const (
		serverFailure = 2 // RFC 1035, section 4.1.1
		noSuchName    = 3
	)
	s := newStand(t)
	for name, c := range map[string]struct {
		code  byte
		words []string
	}{
		"no such host":   {noSuchName, []string{"no host named", "stavily.test", "api.base_url"}},
		"server failure": {serverFailure, []string{"did not say where", "name servers"}},
	} {
		t.Run(name, func(t *testing.T) {
			useNameServer(t, c.code)
			expect(t, beat(t.Context(), dial(t, "https://stavily.test:8443", s.client)), api.KindNetwork, c.words...)
		})
	}
}

// useNameServer answers every question of this process with an error code.
func useNameServer(t *testing.T, code byte) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			binary.BigEndian.PutUint16(buf[2:], 0x8180|uint16(code)) // an answer, recursion available
			binary.BigEndian.PutUint16(buf[10:], 0)                  // no additional records
			end := 12 + strings.IndexByte(string(buf[12:n]), 0) + 5  // header, name, type and class
			pc.WriteTo(buf[:end], from)
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		pc.Close()
		<-done
	})
}

func TestServerCertificates(t *testing.T) {
	s := newStand(t)
	elsewhere, forClients := pkitest.Server(), pkitest.Server()
	elsewhere.IPAddresses = nil
	forClients.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, c := range map[string]struct {
		cert  tls.Certificate
		words []string
	}{
		"another CA":    {pkitest.New(t, "other").Issue(pkitest.Server()), []string{"unknown authority", "api.auth.ca_file"}},
		"another name":  {s.ca.Issue(elsewhere), []string{"not for that name", "--hostname 127.0.0.1", "api.base_url"}},
		"expired":       {s.ca.Issue(pkitest.Valid(pkitest.Server(), -2*time.Hour, -time.Hour)), []string{"expired at", "clock", time.Now().UTC().Format(time.DateOnly)}},
		"not yet valid": {s.ca.Issue(pkitest.Valid(pkitest.Server(), time.Hour, 2*time.Hour)), []string{"not valid before", "clock behind"}},
		"a client's":    {s.ca.Issue(forClients), []string{"was refused", "usage"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, s.ca.ServerTLS(c.cert), http.HandlerFunc(alive))
			expect(t, beat(t.Context(), dial(t, srv.url, s.client)), api.KindCertificate, c.words...)
		})
	}
	t.Run("another fingerprint", func(t *testing.T) {
		conf, err := pki.PinnedTLS("sha256:"+strings.Repeat("00", 32), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		srv := serve(t, s.server, http.HandlerFunc(alive))
		_, err = dial(t, srv.url, conf).Enroll(t.Context(), "token", api.EnrollRequest{AgentID: agentID})
		expect(t, err, api.KindCertificate, "fingerprint", "not talking to that server")
	})
}

// TestClientCertificates: the server refuses ours, with TLS 1.3 after the handshake
// is over for the client and with 1.2 within it.
func TestClientCertificates(t *testing.T) {
	s := newStand(t)
	other := pkitest.New(t, "other")
	for name, c := range map[string]struct {
		client *tls.Config
		words  []string
	}{
		"none":             {s.ca.ClientTLS(), []string{"client certificate", "enrol"}},
		"another CA":       {s.ca.ClientTLS(other.Issue(pkitest.Agent(agentURI))), []string{"CA of this agent's certificate", "enrol"}},
		"expired":          {s.ca.ClientTLS(s.ca.Issue(pkitest.Valid(pkitest.Agent(agentURI), -2*time.Hour, -time.Hour))), []string{"expired", "clocks", "enrol"}},
		"a server's":       {s.ca.ClientTLS(s.ca.Issue(pkitest.Server())), []string{"refused this agent's certificate", "enrol"}},
		"without its key":  {s.ca.ClientTLS(tls.Certificate{Certificate: s.ca.Issue(pkitest.Agent(agentURI)).Certificate, PrivateKey: pkitest.Key(t)}), nil},
		"not yet in force": {s.ca.ClientTLS(s.ca.Issue(pkitest.Valid(pkitest.Agent(agentURI), time.Hour, 2*time.Hour))), []string{"not valid yet", "clocks"}},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				conf := s.server.Clone()
				conf.ClientAuth = tls.RequireAndVerifyClientCert
				conf.MinVersion, conf.MaxVersion = version, version
				srv := serve(t, conf, http.HandlerFunc(alive))
				err := beat(t.Context(), dial(t, srv.url, c.client))
				if c.words == nil || name == "none" && version == tls.VersionTLS12 { // no alert says so
					expect(t, err, api.KindTLS, "TLS handshake")
					return
				}
				expect(t, err, api.KindCertificate, c.words...)
			})
		}
	}
}

func TestOtherProtocols(t *testing.T) {
	s := newStand(t)
	old := s.server.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	strict := s.client.Clone()
	strict.MinVersion = tls.VersionTLS13
	expect(t, beat(t.Context(), dial(t, serve(t, old, http.HandlerFunc(alive)).url, strict)), api.KindTLS, "TLS version", "security.tls.min_version")

	plain := listen(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	})
	expect(t, beat(t.Context(), dial(t, "https://"+plain, s.client)), api.KindTLS, "HTTP without TLS")

	ssh := listen(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n"); io.Copy(io.Discard, c) })
	expect(t, beat(t.Context(), dial(t, "https://"+ssh, s.client)), api.KindTLS, "does not speak TLS")
}

func TestForeignAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		handler   http.HandlerFunc
		kind      api.Kind
		retryable bool
		words     []string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.example.com/?back="+r.URL.Path, http.StatusFound)
		}, api.KindNotStavily, true, []string{"302 Found", "https://login.example.com/", "not followed"}},
		"permanent redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example.com/", http.StatusPermanentRedirect)
		}, api.KindNotStavily, true, []string{"308", "https://evil.example.com/"}},
		"login page": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>Sign in</html>") },
			api.KindNotStavily, true, []string{"text/html", "login page"}},
		"not found page": {http.NotFound, api.KindNotStavily, false, []string{"404 Not Found", "text/plain"}},
		"load balancer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			http.Error(w, "upstream", http.StatusBadGateway)
		}, api.KindProxy, true, []string{"502 Bad Gateway", "load balancer"}},
		"gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			alive(w, r)
		}, api.KindNotStavily, true, []string{"encoded as gzip"}},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.Copy(w, strings.NewReader(`{"config_version":"`+strings.Repeat("x", api.MaxAnswerBytes)))
		}, api.KindNotStavily, true, []string{"too large"}},
		"another API": {func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]string{"status": "ok"}) },
			api.KindNotStavily, true, []string{"server_time is missing"}},
		"another API's error": {func(w http.ResponseWriter, _ *http.Request) { reply(w, 400, map[string]string{"message": "no"}) },
			api.KindNotStavily, false, []string{"400 Bad Request"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := both(t, c.handler)
			err := beat(t.Context(), client)
			expect(t, err, c.kind, c.words...)
			if got := api.Retryable(err); got != c.retryable {
				t.Errorf("Retryable(%v) = %v, want %v", err, got, c.retryable)
			}
			if want := name == "load balancer"; (api.RetryAfter(err) == 30*time.Second) != want {
				t.Errorf("RetryAfter = %v", api.RetryAfter(err))
			}
		})
	}
}

func TestTokenDoesNotFollowRedirects(t *testing.T) {
	s := newStand(t)
	elsewhere := serve(t, s.server, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	srv := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.url+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	_, err := dial(t, srv.url, s.client).Enroll(t.Context(), "token", api.EnrollRequest{AgentID: agentID})
	expect(t, err, api.KindNotStavily, elsewhere.url)
}

// TestProxies runs this test binary again for each proxy: net/http reads the
// environment once in a process.
func TestProxies(t *testing.T) {
	if os.Getenv("STAVILY_TEST_PROXY_CHILD") != "" {
		err := beat(t.Context(), dial(t, "https://stavily.test:8443", &tls.Config{}))
		if u := (*api.UnreachableError)(nil); errors.As(err, &u) {
			fmt.Printf("answer: %v\n", err)
		}
		return
	}
	status := func(line string) string {
		return listen(t, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 "+line+"\r\nContent-Length: 0\r\n\r\n")
		})
	}
	closed := status("")
	for name, c := range map[string]struct {
		proxy string
		words []string
	}{
		"refuses":    {status("403 Forbidden"), []string{"403 Forbidden", "NO_PROXY", "stavily.test:8443"}},
		"wants user": {status("407 Proxy Authentication Required"), []string{"407", "user and password"}},
		"is away":    {"127.0.0.1:1", []string{"cannot be reached", "refused", "127.0.0.1:1", "HTTPS_PROXY"}},
		"is broken":  {closed, []string{closed}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProxies$")
			cmd.Env = append(os.Environ(), "STAVILY_TEST_PROXY_CHILD=1", "HTTPS_PROXY=http://scott:tiger@"+c.proxy, "NO_PROXY=", "no_proxy=")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, w := range append(c.words, "answer: proxy: ") {
				if !strings.Contains(string(out), w) {
					t.Errorf("%s\ndoes not say %q", out, w)
				}
			}
			if strings.Contains(string(out), "tiger") {
				t.Errorf("%s\nrepeats the proxy's password", out)
			}
		})
	}
}

// TestRegistrationTroubleIsToldApart: network, certificate and organisation (R190).
func TestRegistrationTroubleIsToldApart(t *testing.T) {
	s := newStand(t)
	foreign := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusForbidden, api.ErrorBody{Error: api.Errorf(api.CodeIdentityMismatch, "The certificate is of organisation acme.")})
	}))
	for want, err := range map[string]error{
		"network: ":           beat(t.Context(), dial(t, "https://127.0.0.1:1", s.client)),
		"certificate: ":       beat(t.Context(), dial(t, foreign.url, pkitest.New(t, "other").ClientTLS())),
		"identity_mismatch: ": beat(t.Context(), dial(t, foreign.url, s.client)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want one that begins with %q", err, want)
		}
	}
}

// listenTLS is listen after a TLS handshake that agrees on HTTP/2.
func listenTLS(t *testing.T, s stand, handle func(net.Conn)) (addr string) {
	t.Helper()
	return listen(t, func(raw net.Conn) {
		c := tls.Server(raw, s.server)
		if c.Handshake() == nil {
			handle(c)
		}
		c.Close()
	})
}
