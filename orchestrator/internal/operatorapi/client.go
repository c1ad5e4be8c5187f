package operatorapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxAnswer bounds one answer and one line of a stream: the largest is a page of
// 500 events of 64 KiB.
const maxAnswer = 64 << 20

// ErrUnreachable is wrapped by errors that mean that no server answers.
var ErrUnreachable = errors.New("no server answers")

// ErrCut is wrapped by errors that mean so of a stream that had begun. It is an ErrUnreachable.
var ErrCut = fmt.Errorf("%w any more", ErrUnreachable)

// Client calls the operator API of one server. It is safe for concurrent use.
type Client struct {
	http  http.Client
	base  string // scheme and host of every address
	token string // empty: who opens the socket is known by that
	org   api.OrgID
	where string // what people read of where the server should be
	fix   string // what they can do when it is not there
	err   error  // why there can be no call

	header http.Header // of every call
}

// NewClient returns a client of the server that listens on socket, for one
// organisation. It connects when it is first used.
func NewClient(socket string, org api.OrgID) *Client {
	c := &Client{base: "http://stavily", org: org, where: socket, fix: "start one with `stavily server`, or name its directory with --data-dir"}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return c
}

// NewRemote returns a client of the server at an address such as https://stavily.example.com:8444,
// where it comes with an API token. The organisation is the token's.
func NewRemote(address, token string, conf *tls.Config) *Client {
	c := &Client{base: strings.TrimSuffix(address, "/"), token: token, where: address, fix: "see that it runs and listens there (--web-listen), or choose another context with `stavily context use`"}
	c.http.Transport = &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment}
	// This API redirects nowhere, and the token is for this server alone.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// With returns a client that sends a header with every call.
func (c *Client) With(name, value string) *Client {
	other := *c
	other.header = maps.Clone(c.header)
	if other.header == nil {
		other.header = http.Header{}
	}
	other.header.Set(name, value)
	return &other
}

// Refusing returns a client whose calls all fail with err: so whoever cannot know which server
// is meant says so where one is needed, and not before.
func Refusing(err error) *Client { return &Client{err: err} }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do makes one call. in, unless nil, is the body; the answer is decoded into out
// unless that is nil. An answer that is no success is an [*api.Error]; when no
// server answers the error wraps [ErrUnreachable].
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return err
	}
	return c.exchange(ctx, method, path, query, body, out)
}

// List reads a list page by page until there are no more, or most items where that is
// above 0.
func List[T any](ctx context.Context, c *Client, path string, query url.Values, most int) ([]T, error) {
	items := []T{}
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	for {
		left := maxLimit
		if most > 0 {
			left = min(left, most-len(items))
		}
		query.Set("limit", strconv.Itoa(left))
		var page []T
		next, err := c.page(ctx, path, query, &page)
		items = append(items, page...)
		if err != nil || next == "" || most > 0 && len(items) == most {
			return items, err
		}
		query.Set("cursor", next)
	}
}

// page reads one page and returns the cursor of the next; empty when there is none.
func (c *Client) page(ctx context.Context, path string, query url.Values, out any) (next string, err error) {
	resp, err := c.send(ctx, http.MethodGet, path, query, http.NoBody)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := limits.DecodeJSON(resp.Body, maxAnswer, out); err != nil {
		return "", fmt.Errorf("answer to GET %s: %w", path, err)
	}
	link, isNext := strings.CutSuffix(resp.Header.Get("Link"), `>; rel="next"`)
	if !isNext {
		return "", nil
	}
	u, err := url.Parse(strings.TrimPrefix(link, "<"))
	if err != nil {
		return "", fmt.Errorf("answer to GET %s: header Link: %w", path, err)
	}
	return u.Query().Get("cursor"), nil
}

// Upload posts a body as it is.
func (c *Client) Upload(ctx context.Context, path string, body io.Reader, out any) error {
	return c.exchange(ctx, http.MethodPost, path, nil, body, out)
}

// Download writes an answer as it is.
func (c *Client) Download(ctx context.Context, path string, query url.Values, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, query, http.NoBody)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := limits.ReadAll(resp.Body, maxAnswer)
	if err != nil {
		return fmt.Errorf("answer to GET %s: %w", path, err)
	}
	_, err = w.Write(body)
	return err
}

func (c *Client) exchange(ctx context.Context, method, path string, query url.Values, body io.Reader, out any) error {
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent || out == nil {
		return nil
	}
	if err := limits.DecodeJSON(resp.Body, maxAnswer, out); err != nil {
		return fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return nil
}

// Follow calls each with every value of a stream until it ends, each returns an
// error or ctx is done.
func (c *Client) Follow(ctx context.Context, path string, query url.Values, each func(json.RawMessage) error) error {
	resp, err := c.send(ctx, http.MethodGet, path, query, http.NoBody)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := limits.NewLineReader(resp.Body, maxAnswer)
	for {
		line, _, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCut, err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	full := url.Values{}
	if c.org != "" {
		full.Set("org", string(c.org))
	}
	for k, v := range query {
		full[k] = v
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+full.Encode(), body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, c.header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w at %s: %s: %w", ErrUnreachable, c.where, c.fix, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, failure(resp)
}

func encode(in any) (io.Reader, error) {
	if in == nil {
		return http.NoBody, nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}

// failure reads the error of an answer.
func failure(resp *http.Response) error {
	var body api.ErrorBody
	if err := limits.DecodeJSON(resp.Body, maxAnswer, &body); err != nil || body.Error == nil {
		return fmt.Errorf("%s %s: answer %s without an error of ours: is it a stavily server?", resp.Request.Method, resp.Request.URL.Path, resp.Status)
	}
	body.Error.HTTPStatus = resp.StatusCode
	return body.Error
}
