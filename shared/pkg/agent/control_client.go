package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/stavily/agents/internal/limits"
)

// maxTold bounds what an agent answers: a few KiB for each of a thousand plugins.
const maxTold = 32 << 20

// owner is the side of the control socket that asks.
type owner struct {
	base, program string
	http          *http.Client
}

func newOwner(base, program string) *owner {
	path := filepath.Join(base, controlName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	// Without a time limit of its own: an installation takes as long as it takes, and
	// Ctrl-C ends the waiting.
	return &owner{base: base, program: program, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// call sends one request to the running agent.
func (o *owner) call(ctx context.Context, method, path string, body any) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	resp, err := o.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no agent runs with base directory %s: start it, or name its configuration with --config", o.base)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the agent in %s obeys its own user and root only: run this as one of them (sudo -u USER %s …): %w", o.base, o.program, err)
	}
	return nil, fmt.Errorf("ask the agent in %s: %w", o.base, err)
}

// ask gets the answer to a question.
func (o *owner) ask(ctx context.Context, path string, answer any) error {
	resp, err := o.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, maxTold)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return limits.UnmarshalJSON(text, answer)
	}
	return refusalIn(text, resp.Status)
}

func refusalIn(text []byte, status string) error {
	var s said
	if err := limits.UnmarshalJSON(text, &s); err != nil || s.Error == "" {
		return fmt.Errorf("the agent answers %s: is it of another version?", status)
	}
	return errors.New(s.Error)
}

// order has the agent do something and waits for its end. say hears how far it is.
func (o *owner) order(ctx context.Context, path string, body any, say func(string)) (changeDone, error) {
	resp, err := o.call(ctx, http.MethodPost, path, body)
	if err != nil {
		return changeDone{}, err
	}
	defer resp.Body.Close()
	lines := limits.NewLineReader(resp.Body, maxOrder)
	for {
		line, cut, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return changeDone{}, errors.New("the agent hung up before it was done: see its log")
		}
		if err != nil || cut {
			return changeDone{}, fmt.Errorf("read the agent's answer: %w", errors.Join(err, limits.ErrTooLarge))
		}
		var s said
		if err := limits.UnmarshalJSON(line, &s); err != nil {
			return changeDone{}, refusalIn(nil, resp.Status)
		}
		switch {
		case s.Error != "":
			return changeDone{}, errors.New(s.Error)
		case s.Done != nil:
			return *s.Done, nil
		}
		say(s.Progress)
	}
}

// pathOf is where the agent answers for a plugin.
func pathOf(id string, verb ...string) string {
	path := "/plugins/" + url.PathEscape(id)
	for _, v := range verb {
		path += "/" + v
	}
	return path
}
