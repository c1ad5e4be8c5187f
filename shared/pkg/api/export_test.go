package api

import (
	"crypto/tls"
	"net/http"
	"time"
)

// What tests may turn: limits that are too long to wait for, and the transport.

func ReconnectWith(c *Client, t *tls.Config, pingAfter, pingTimeout, handshake time.Duration) {
	l := newLink(t, pingAfter, pingTimeout)
	l.http.Transport.(*http.Transport).TLSHandshakeTimeout = handshake
	c.link.Store(l)
}

func AnswerWith(c *Client, t http.RoundTripper) {
	was := c.link.Load()
	c.link.Store(&link{&http.Client{Transport: t, CheckRedirect: was.http.CheckRedirect}, was.tls})
}

const MaxAnswerBytes = maxAnswerBytes
