package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/handshake"
	"github.com/stavily/agents/orchestrator/internal/openid"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	pages "github.com/stavily/agents/orchestrator/internal/web"
)

// people makes what the operator socket and the web listener serve.
func people(o Options, e *engine.Engine, info operatorapi.Server, hosts []string) (socket, web http.Handler, err error) {
	shared, sessions, err := operatorapi.Handlers(e, info)
	if err != nil {
		return nil, nil, err
	}
	if socket, err = route.Build(route.Operator, shared, route.Options{Logger: o.Logger}); err != nil {
		return nil, nil, err
	}
	all := maps.Clone(shared)
	maps.Copy(all, sessions)
	var provider *openid.Provider
	if o.OpenID.Issuer != "" {
		if provider, err = openid.New(o.OpenID); err != nil {
			return nil, nil, err
		}
	}
	dashboard, err := pages.New(e, pages.Options{OpenID: provider, Accounts: info.Accounts, BaseURL: info.BaseURL, WebURL: info.WebURL, CAFingerprint: info.CA.Fingerprint()})
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(all, dashboard.Handlers())
	web, err = route.Build(route.Web, all, route.Options{Logger: o.Logger, People: info.Accounts, Hosts: hosts, ErrorPage: dashboard.ErrorPage})
	return socket, web, err
}

// inviteFirst makes the link of the first admin, where there is none yet.
func inviteFirst(ctx context.Context, o Options, info operatorapi.Server) error {
	if o.FirstAdmin == nil || info.WebURL == "" {
		return nil
	}
	secret, err := info.Accounts.FirstAdmin(ctx, route.DefaultOrg)
	switch {
	case err != nil: // no reason to keep agents waiting: stavily users makes one as well
		o.Logger.ErrorContext(ctx, "link of the first admin", "error", err)
	case secret != "":
		o.FirstAdmin(operatorapi.LinkURL(info.WebURL, secret))
	}
	return nil
}

// webHandshake is how long one of a person's browser may take.
const webHandshake = 10 * time.Second

// listenWeb opens the listener for people, with TLS; nil when it is off.
func listenWeb(ctx context.Context, o Options, authority *ca.Authority, strangers *handshake.Watch) (net.Listener, error) {
	if o.WebListen == "" {
		return nil, nil
	}
	certificate := authority.ServerCertificate
	if o.WebCertificate != "" || o.WebKey != "" {
		files := &certificateFiles{certificate: o.WebCertificate, key: o.WebKey}
		if _, err := files.get(nil); err != nil {
			return nil, err
		}
		certificate = files.get
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.WebListen)
	if err != nil {
		return nil, fmt.Errorf("listen for people: %w; choose another address with --web-listen, or none with --web-listen \"\"", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: certificate}
	return handshake.Listen(ctx, l, conf, webHandshake, func(from net.Addr, err error) {
		strangers.Refused(string(route.Web), handshake.Reason(err), from.String())
	}), nil
}

// webURL is where people connect. A loopback address is one that the host's name does not
// lead to.
func webURL(host string, l net.Listener) string {
	if l == nil {
		return ""
	}
	at := l.Addr().(*net.TCPAddr)
	if at.IP.IsLoopback() {
		host = at.IP.String()
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// certificateFiles are read again when they were replaced, as renewals do.
type certificateFiles struct {
	certificate, key string

	mu     sync.Mutex // guards the fields below
	looked time.Time
	stamp  [2]time.Time
	loaded *tls.Certificate
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = 10 * time.Second

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && time.Since(f.looked) < lookEvery {
		return f.loaded, nil
	}
	f.looked = time.Now()
	var stamp [2]time.Time
	for n, name := range []string{f.certificate, f.key} {
		if info, err := os.Stat(name); err == nil {
			stamp[n] = info.ModTime()
		}
	}
	if f.loaded != nil && stamp == f.stamp {
		return f.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		if f.loaded != nil { // half of a renewal: the certificate of before is still good
			return f.loaded, nil
		}
		return nil, fmt.Errorf("certificate of the web listener: %w; --web-certificate and --web-key name the files of one pair", err)
	}
	f.stamp, f.loaded = stamp, &pair
	return f.loaded, nil
}
