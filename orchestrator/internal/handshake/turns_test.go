package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes accepts what it is sent.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }

func (p pipes) Addr() net.Addr { return nil }

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// However many come, half of the processors compute their handshakes, and each of those comes to
// its end: who says half of a hello, or does not listen to the answer, has none while it is waited for.
func TestHandshakesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = time.Second // of a processor
		var mu sync.Mutex
		var active, most int
		conf := &tls.Config{GetCertificate: always(certificate(t)), SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13}
		conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			active++
			most = max(most, active)
			mu.Unlock()
			time.Sleep(each)
			mu.Lock()
			active--
			mu.Unlock()
			return nil, nil //nolint:nilnil // the same configuration
		}
		in := make(pipes)
		l := Listen(t.Context(), in, conf, time.Hour, func(net.Addr, error) {})
		accepted := make(chan net.Conn)
		go func() {
			defer close(accepted)
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				accepted <- c
			}
		}()
		end := make(chan struct{})
		var all sync.WaitGroup
		for range 2 * cap(turns()) {
			half, whole := in.dial(), in.dial()
			if _, err := half.Write([]byte("\x16\x03\x01\x02\x00\x01")); err != nil {
				t.Fatal(err)
			}
			go func() { _ = tls.Client(deaf{whole, end}, anybody).Handshake() }()
		}
		clients := 8 * cap(turns())
		for range clients {
			all.Go(func() {
				if err := tls.Client(in.dial(), anybody).Handshake(); err != nil {
					t.Error(err)
				}
			})
		}
		for range clients {
			<-accepted
		}
		all.Wait()
		if most != cap(turns()) {
			t.Errorf("%d handshakes were computed at once, want %d", most, cap(turns()))
		}
		close(end)
		l.Close()
	})
}

// always is the certificate of a configuration that has one.
func always(c tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c, nil }
}

// anybody is the configuration of a client that does not care whom it talks to.
var anybody = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // no identity is at stake

// deaf never reads.
type deaf struct {
	net.Conn
	end chan struct{}
}

func (d deaf) Read([]byte) (int, error) {
	<-d.end
	return 0, net.ErrClosed
}

// certificate is that of a server that nobody knows.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
