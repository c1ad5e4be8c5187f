package handshake

import (
	"crypto"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync/atomic"
)

// sign computes signatures on a thread of its own, until Close. The operating system shares the
// processors by thread: one that did nothing but sign has had its share when who is known asks
// for an answer, while the threads of everybody have not.
func (h *listener) sign() {
	runtime.LockOSThread()
	for {
		select {
		case signature := <-h.wanted:
			signature()
		case <-h.running.Done():
			return
		}
	}
}

// signing has the signatures of a listener's certificates computed by its threads.
func (h *listener) signing(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	type signed struct{ from, to *tls.Certificate }
	var last atomic.Pointer[signed]
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		from, err := certificate(hello)
		if err != nil {
			return nil, err
		}
		if l := last.Load(); l != nil && l.from == from {
			return l.to, nil
		}
		to := *from
		if key, ok := from.PrivateKey.(crypto.Signer); ok {
			to.PrivateKey = elsewhere{key, h}
		}
		last.Store(&signed{from, &to})
		return &to, nil
	}
}

// elsewhere is a key whose signatures are computed by the threads of a listener.
type elsewhere struct {
	crypto.Signer
	h *listener
}

func (e elsewhere) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	made := make(chan struct{})
	select {
	case e.h.wanted <- func() {
		signature, err = e.Signer.Sign(random, digest, opts)
		close(made)
	}:
		<-made
		return signature, err
	case <-e.h.running.Done():
		return nil, net.ErrClosed
	}
}
