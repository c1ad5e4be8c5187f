package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// ErrNotServed is wrapped by the error of a call that the orchestrator does not know: it
// is older than this agent, which then has to do without.
var ErrNotServed = errors.New("the orchestrator does not serve this call; it is older than this agent")

// ErrWrongPackage is wrapped by the error for a package that is not the one assigned.
var ErrWrongPackage = errors.New("the package is not the one that was assigned")

const contentPackage = "application/gzip"

// Assignments asks for the set of packages that this agent is to have. With the version
// of a known one the server holds the answer for up to wait, in whole seconds, rounded
// up, until the set differs; changed is false when it did not. The error wraps
// [ErrNotServed] where the server has no such call.
func (c *Client) Assignments(ctx context.Context, known string, wait time.Duration) (a Assignments, changed bool, err error) {
	query := url.Values{}
	if known != "" {
		query.Set("version", known)
	}
	if wait > 0 {
		wait = (wait + time.Second - 1).Truncate(time.Second)
		query.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	a, err = exchange(ctx, c, call{method: http.MethodGet, path: PathPlugins, query: query, wait: wait, mayBeEmpty: true}, checkAssignments)
	if CodeOf(err) == CodeNotFound {
		err = fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	return a, err == nil && a.Version != "", err
}

// Monitors asks for the set of monitors that the orchestrator wants this agent to run.
func (c *Client) Monitors(ctx context.Context) (Monitors, error) {
	return exchange(ctx, c, call{method: http.MethodGet, path: PathMonitors}, checkMonitors)
}

// FetchPackage writes the package p to into, whose content, if it has any, is taken for
// its beginning: after an error, the same call with the same file goes on where this one
// ended. It returns nil once the file is p and nothing else, by its digest. An error that
// wraps [ErrWrongPackage] leaves the file empty.
//
// It is one request, and ends when nothing arrives for the client's timeout; the whole
// may take as long as it needs.
func (c *Client) FetchPackage(ctx context.Context, p AssignedPlugin, into *os.File) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("fetch package: %w", err)
	}
	have, err := into.Seek(0, io.SeekEnd)
	if err == nil && have > p.Size {
		have, err = 0, empty(into)
	}
	if err == nil && have < p.Size {
		err = c.overLink(func(l *link) error { return c.download(ctx, l, p, into, have) })
	}
	if err == nil {
		err = verify(into, p)
	}
	if errors.Is(err, ErrWrongPackage) {
		err = errors.Join(err, empty(into))
	}
	if err != nil {
		return fmt.Errorf("fetch package %s %s: %w", p.ID, p.Version, err)
	}
	return nil
}

// download appends what is missing from offset have on.
func (c *Client) download(ctx context.Context, l *link, p AssignedPlugin, into *os.File, have int64) error {
	if err := c.limiter.Wait(ctx); err != nil {
		return fmt.Errorf("wait for api.rate_limit: %w", err)
	}
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(c.limit(), func() { cancel(context.DeadlineExceeded) })
	defer stalled.Stop()
	request, err := c.request(watched, call{method: http.MethodGet, path: PathPackage, plugin: p.ID, version: p.Version})
	if err != nil {
		return err
	}
	request.Header.Set("Accept", contentPackage+", "+contentJSON)
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		request.Header.Set("If-Range", `"`+p.Digest+`"`)
	}
	answer, err := l.http.Do(request)
	if err != nil {
		return c.explain(ctx, err, request)
	}
	defer answer.Body.Close()
	have, err = c.judgePackage(ctx, answer, p, have)
	if err == nil {
		err = into.Truncate(have)
	}
	if err == nil {
		_, err = into.Seek(have, io.SeekStart)
	}
	if err != nil {
		return err
	}
	body := &progress{r: answer.Body, moved: func() { stalled.Reset(c.limit()) }}
	n, err := io.Copy(into, io.LimitReader(body, p.Size-have+1))
	switch {
	case body.err != nil:
		return c.explain(ctx, body.err, request)
	case err != nil:
		return err
	case have+n != p.Size:
		return fmt.Errorf("%w: it has not %d bytes", ErrWrongPackage, p.Size)
	}
	return nil
}

// judgePackage looks at status and header of an answer and returns the offset that its
// body begins at.
func (c *Client) judgePackage(ctx context.Context, r *http.Response, p AssignedPlugin, asked int64) (begin int64, err error) {
	switch status := r.StatusCode; {
	case status >= 300 && status < 400:
		return 0, c.redirected(r)
	case status == http.StatusRequestedRangeNotSatisfiable: // by the digest we know better
		return 0, fmt.Errorf("%w: the server's is shorter", ErrWrongPackage)
	case status >= 400:
		if !isJSON(r.Header) {
			return 0, c.foreign(r)
		}
		body, err := limits.ReadAll(r.Body, maxAnswerBytes)
		if err != nil {
			return 0, c.explain(ctx, err, r.Request)
		}
		return 0, c.refusal(r, body)
	case r.Header.Get("Content-Type") != contentPackage || r.Header.Get("Content-Encoding") != "":
		return 0, c.foreign(r)
	case r.Header.Get(HeaderDigest) != p.Digest:
		return 0, fmt.Errorf("%w: the server's has digest %.80q, assigned is %s", ErrWrongPackage, printable(r.Header.Get(HeaderDigest)), p.Digest)
	case status == http.StatusOK:
		return 0, nil
	case status == http.StatusPartialContent && r.Header.Get("Content-Range") == fmt.Sprintf("bytes %d-%d/%d", asked, p.Size-1, p.Size):
		return asked, nil
	}
	return 0, c.notStavily(r.StatusCode, "answered "+statusText(r.StatusCode)+", which a download has no use for", nil)
}

// progress tells of bytes that arrive, and keeps the error that is the reader's and not
// the writer's.
type progress struct {
	r     io.Reader
	moved func()
	err   error
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.moved()
	}
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

func verify(f *os.File, p AssignedPlugin) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, p.Size+1)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != p.Digest {
		return fmt.Errorf("%w: its digest is %s, assigned is %s", ErrWrongPackage, got, p.Digest)
	}
	return nil
}

func empty(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
