package api

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
)

const (
	// maxAnswerBytes bounds an answer: 500 outcomes of a batch take 100 KiB.
	maxAnswerBytes = 256 << 10

	// maxErrorText bounds what is kept of foreign text that goes into logs.
	maxErrorText = 2 << 10

	// compressFrom is where gzip begins to pay: below it a batch fits a few packets.
	compressFrom = 16 << 10
)

const (
	contentJSON     = "application/json"
	headerRequestID = "X-Request-Id"
)

// call is one request of the API.
type call struct {
	method  string
	path    string        // pattern, see paths.go
	id      InstructionID // for {id} in it
	plugin  PluginID      // for {plugin_id}
	version string        // for {version}
	query   url.Values
	token   string // bearer token, for enrolment
	body    any    // nil for none
	most    int64  // bytes of the answer; 0: maxAnswerBytes

	wait       time.Duration // that the server may hold the answer, on top of the timeout
	unlimited  bool          // exempt from the rate limit
	first      bool          // never waits for the rate limit; others wait for it
	compress   bool          // the route takes gzip
	mayBeEmpty bool          // 204 is a success
	late       bool          // on a connection of its own, which takes a certificate that has ended
}

// exchange makes the call and returns the answer, having checked it.
func exchange[A any](ctx context.Context, c *Client, k call, check func(A) error) (A, error) {
	var none, answer A
	status, body, err := c.do(ctx, k)
	if err != nil || status == http.StatusNoContent {
		return none, err
	}
	err = limits.UnmarshalJSON(body, &answer)
	if err == nil && !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) { // null decodes into anything
		err = fmt.Errorf("the document is %.20q and must be an object", body)
	}
	if err == nil {
		err = check(answer)
	}
	if err != nil {
		return none, c.notStavily(status, fmt.Sprintf("answered %s %s, but %v", k.method, k.path, err), err)
	}
	return answer, nil
}

// do makes the call and returns status and body of a success: 204, or another 2xx
// with JSON.
func (c *Client) do(ctx context.Context, k call) (status int, body []byte, err error) {
	switch {
	case k.unlimited:
	case k.first:
		c.limiter.Reserve()
	default:
		if err := c.limiter.Wait(ctx); err != nil {
			return 0, nil, fmt.Errorf("wait for api.rate_limit: %w", err)
		}
	}
	begin := time.Now()
	err = c.overLink(func(l *link) error {
		if k.late && c.transport == nil {
			l = l.late()
			defer l.http.CloseIdleConnections()
		}
		status, body, err = c.once(ctx, k, l)
		return err
	})
	c.observe(k.method, k.path, time.Since(begin), err)
	return status, body, err
}

// overLink makes a call, and once more when it was refused with a certificate that
// Reconnect has replaced in the meantime: the server has done nothing for it then.
func (c *Client) overLink(call func(*link) error) error {
	l := c.link.Load()
	err := call(l)
	if now := c.link.Load(); now != l && CodeOf(err) == CodeBadCertificate {
		err = call(now)
	}
	return err
}

// once makes the call on one link.
func (c *Client) once(ctx context.Context, k call, l *link) (status int, body []byte, err error) {
	timed, cancel := context.WithTimeout(ctx, k.wait+c.limit())
	defer cancel()
	request, err := c.request(timed, k)
	if err != nil {
		return 0, nil, fmt.Errorf("make request %s %s: %w", k.method, k.path, err)
	}
	if err := failpoint.At("call.before", k.path); err != nil {
		return 0, nil, c.explain(ctx, err, request)
	}
	answer, err := l.http.Do(request)
	if err != nil {
		return 0, nil, c.explain(ctx, err, request)
	}
	defer answer.Body.Close()
	if err := c.judge(answer, k); err != nil {
		return 0, nil, err
	}
	body, err = limits.ReadAll(answer.Body, cmp.Or(k.most, maxAnswerBytes))
	if err == nil {
		err = failpoint.At("call.answered", k.path)
	}
	if err != nil {
		return 0, nil, c.explain(ctx, err, request)
	}
	if answer.StatusCode >= 400 {
		return 0, nil, c.refusal(answer, body)
	}
	return answer.StatusCode, body, nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	path := k.path
	if strings.Contains(path, "{id}") {
		if err := k.id.Validate(); err != nil {
			return nil, err
		}
	}
	if strings.Contains(path, "{plugin_id}") {
		if err := errors.Join(k.plugin.Validate(), ValidateVersion(k.version)); err != nil {
			return nil, err
		}
	}
	// Valid ids need no escaping.
	path = strings.NewReplacer("{agent_id}", string(c.agent), "{id}", string(k.id), "{plugin_id}", string(k.plugin), "{version}", k.version).Replace(path)
	target := *c.base
	target.Path += path
	target.RawQuery = k.query.Encode()
	body, encoding, err := encode(k)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, k.method, target.String(), body)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Accept":           contentJSON,
		"Content-Encoding": encoding,
		"User-Agent":       c.userAgent,
		headerRequestID:    rand.Text(),
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if k.body != nil {
		r.Header.Set("Content-Type", contentJSON)
	}
	if k.token == "" && c.token != nil {
		k.token = c.token()
	}
	if k.token != "" {
		r.Header.Set("Authorization", "Bearer "+k.token)
	}
	return r, nil
}

// encode makes the body: a *bytes.Reader, which net/http can send again when a server
// refuses a stream before reading it.
func encode(k call) (body io.Reader, encoding string, err error) {
	if k.body == nil {
		return http.NoBody, "", nil
	}
	b, err := Marshal(k.body)
	if err != nil {
		return nil, "", err
	}
	if !k.compress || len(b) < compressFrom {
		return bytes.NewReader(b), "", nil
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	return bytes.NewReader(packed.Bytes()), "gzip", err
}

// judge looks at status and header of an answer. It returns nil when the body is to
// be read: a success of this call, or an error of the Agent API.
func (c *Client) judge(r *http.Response, k call) error {
	switch status := r.StatusCode; {
	case status == http.StatusNoContent && k.mayBeEmpty:
		return nil
	case status >= 300 && status < 400:
		return c.redirected(r)
	case status < 200 || status == http.StatusNoContent:
		return c.notStavily(status, "answered "+statusText(status)+", which this call has no use for", nil)
	case !isJSON(r.Header):
		return c.foreign(r)
	}
	return nil
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == contentJSON && h.Get("Content-Encoding") == ""
}

// refusal makes the error that an error document is.
func (c *Client) refusal(r *http.Response, body []byte) error {
	var document ErrorBody
	if err := limits.UnmarshalJSON(body, &document); err != nil || document.Error == nil || document.Error.Code == "" {
		return c.foreign(r)
	}
	e := document.Error
	e.Code = Code(printable(string(e.Code)))
	e.Message = printable(e.Message)
	e.RequestID = printable(e.RequestID)
	if e.RequestID == "" {
		e.RequestID = printable(r.Header.Get(headerRequestID))
	}
	e.HTTPStatus, e.RetryAfter = r.StatusCode, parseRetryAfter(r.Header, time.Now())
	return e
}

// printable makes foreign text fit for a log and a terminal: bounded, and without
// characters that move a cursor or turn text around.
func printable(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}
