package handshake

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever computes a signature does so on a thread of its own, is one of as many as there are
// turns, and ends with the listener. A certificate that is renewed is no exception.
func TestSignaturesHaveThreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert := certificate(t)
		key := &seen{Signer: cert.PrivateKey.(crypto.Signer), by: map[string]bool{}}
		cert.PrivateKey = key
		renewed := cert
		conf := &tls.Config{SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13}
		asked := 0
		conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if asked++; asked > 8 {
				return &renewed, nil
			}
			return &cert, nil
		}
		in := make(pipes)
		l := Listen(t.Context(), in, conf, time.Hour, func(_ net.Addr, err error) { t.Error(err) })
		go func() {
			for _, err := l.Accept(); err == nil; _, err = l.Accept() { //nolint:revive // they are accepted
			}
		}()
		for range 16 {
			if err := tls.Client(in.dial(), anybody).Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		if key.signed != 16 || len(key.by) > cap(turns()) {
			t.Errorf("%d signatures by %d goroutines, want 16 by %d at most", key.signed, len(key.by), cap(turns()))
		}
		for who := range key.by {
			if !bytes.Contains([]byte(who), []byte("locked to thread")) {
				t.Errorf("signed by a %s, which shares its thread", who)
			}
		}
	})
}

// seen is a key that knows who signed with it.
type seen struct {
	crypto.Signer
	mu     sync.Mutex
	signed int
	by     map[string]bool // the first lines of their stacks
}

func (s *seen) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	stack := make([]byte, 256)
	head, _, _ := bytes.Cut(stack[:runtime.Stack(stack, false)], []byte("\n"))
	s.mu.Lock()
	s.signed++
	s.by[string(head)] = true
	s.mu.Unlock()
	return s.Signer.Sign(random, digest, opts)
}
