package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// operators asks servers what an operator can know, through their sockets.
type operators struct {
	sockets []string // of servers on one database: whichever answers
	http    http.Client
}

const (
	asking    = 20 * time.Second
	maxAnswer = 64 << 20
	pageSize  = "500"
)

type socketKey struct{}

func newOperators(sockets ...string) *operators {
	o := &operators{sockets: sockets, http: http.Client{Timeout: asking}}
	o.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", ctx.Value(socketKey{}).(string))
	}}
	return o
}

// get reads a document, from the first server that has it, and the page that follows it.
func (o *operators) get(ctx context.Context, path string, query url.Values, out any) (next url.Values, err error) {
	for _, socket := range o.sockets {
		if next, err = o.ask(context.WithValue(ctx, socketKey{}, socket), path, query, out); err == nil {
			return next, nil
		}
	}
	return nil, err
}

func (o *operators) ask(ctx context.Context, path string, query url.Values, out any) (url.Values, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://stavily/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	if err := limits.DecodeJSON(resp.Body, maxAnswer, out); err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return nextPage(resp.Header.Get("Link"))
}

// nextPage is the query of a link `<…>; rel="next"`; nil without one.
func nextPage(link string) (url.Values, error) {
	target, _, found := strings.Cut(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !found {
		return nil, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("link to the next page: %w", err)
	}
	return u.Query(), nil
}

// list reads all pages of a list.
func list[T any](ctx context.Context, o *operators, org, path string, query url.Values) (all []T, err error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("org", org)
	query.Set("limit", pageSize)
	for query != nil {
		var page []T
		if query, err = o.get(ctx, path, query, &page); err != nil {
			return all, err
		}
		all = append(all, page...)
	}
	return all, nil
}
