package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Why a connection came to nothing. They are labels of a metric: there are no others, beside
// the codes of errors of the Agent API.
const (
	NoTLS       = "no_tls"      // what came first is no TLS
	Version     = "version"     // the client has no version that is spoken here
	Parameters  = "parameters"  // nor ciphers, curves or protocols
	UnknownCA   = "unknown_ca"  // the client's certificate is of no authority of ours
	Expired     = "expired"     // it has ended, or has not begun
	Purpose     = "purpose"     // it is for something else
	Certificate = "certificate" // it is none, or its owner has not its key
	Client      = "client"      // the client refused this server
	Timeout     = "timeout"     // it took too long
	Gone        = "gone"        // the client went away
	TooMany     = "too_many"    // its address had too many connections of nobody that is known
	Other       = "other"       // none of these
)

// said are what crypto/tls says and has no type for.
var said = []struct{ text, reason string }{
	{"client offered only unsupported versions", Version},
	{"unsupported SSLv2", NoTLS},
	{"remote error:", Client},
	{"no cipher suite supported", Parameters},
	{"no mutually supported", Parameters},
	{"client requested unsupported application protocols", Parameters},
	{"no ECDHE curve supported", Parameters},
	{"invalid signature by the client certificate", Certificate},
	{"client didn't provide a certificate", Certificate},
	{"client certificate", Certificate},
}

// Reason says in one word why a handshake failed.
func Reason(err error) string {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.As(err, &record):
		return NoTLS
	case errors.As(err, &authority):
		return UnknownCA
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return Purpose
	case errors.As(err, &verification), errors.As(err, &invalid):
		return Certificate
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return Gone
	}
	for _, s := range said {
		if strings.Contains(err.Error(), s.text) {
			return s.reason
		}
	}
	return Other
}
