package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stavily/agents/internal/limits"
)

const (
	// MaxPollBytes bounds the answer to a poll, all its instructions together. Strings
	// of nothing take 3 bytes of JSON and 16 of memory, and more while a slice grows:
	// 1 MiB of the worst there is costs an agent 36 MiB for a moment.
	MaxPollBytes = 1 << 20

	// maxOffers bounds the instructions of one answer. Decoding must count them: an
	// empty one takes 3 bytes of JSON and 500 bytes of memory.
	maxOffers = 64
)

// Poll asks for up to most instructions and lets the server hold the answer for up
// to wait, in whole seconds, rounded up, until there is one. The call takes at most
// wait plus the client's timeout. No instruction is no error.
func (c *Client) Poll(ctx context.Context, wait time.Duration, most int) (PollResponse, error) {
	return c.PollKnowing(ctx, wait, most, "")
}

// PollKnowing is a poll that is also answered when the assignments are no longer those of
// the version that is known, unless that is empty.
func (c *Client) PollKnowing(ctx context.Context, wait time.Duration, most int, known string) (PollResponse, error) {
	most = max(most, 1)
	query := url.Values{}
	if wait > 0 {
		wait = (wait + time.Second - 1).Truncate(time.Second)
		query.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	if most > 1 {
		query.Set("max", strconv.Itoa(most))
	}
	if known != "" {
		query.Set("assignments", known)
	}
	k := call{method: http.MethodGet, path: PathInstructions, query: query, wait: wait, most: MaxPollBytes, mayBeEmpty: true}
	var r PollResponse
	_, err := exchange(ctx, c, k, func(a pollAnswer) (err error) {
		if r, err = a.response(); err == nil {
			err = c.checkPoll(r, most)
		}
		return err
	})
	if err != nil {
		return PollResponse{}, err
	}
	if r.Status == "" { // 204
		r.Status = StatusNoInstructions
	}
	return r, nil
}

// pollAnswer decodes a PollResponse with a bound on its instructions, the first of which stands
// there twice: once is enough.
type pollAnswer struct {
	PollResponse
	Instructions offers          `json:"instructions"` // instead of the embedded ones
	Instruction  json.RawMessage `json:"instruction"`
}

func (a pollAnswer) response() (PollResponse, error) {
	r := a.PollResponse
	r.Instructions = a.Instructions
	switch {
	case len(r.Instructions) > 0:
		r.Instruction = &r.Instructions[0]
	case len(a.Instruction) > 0:
		if err := limits.UnmarshalJSON(a.Instruction, &r.Instruction); err != nil {
			return r, fmt.Errorf("instruction: %w", err)
		}
	}
	return r, nil
}

type offers []Instruction

func (o *offers) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	switch open, err := dec.Token(); {
	case err != nil || open == nil: // null
		return err
	case open != json.Delim('['):
		return errors.New("instructions: must be a list")
	}
	for dec.More() {
		if len(*o) == maxOffers {
			return fmt.Errorf("more than %d instructions", maxOffers)
		}
		var one Instruction
		if err := dec.Decode(&one); err != nil {
			return err
		}
		*o = append(*o, one)
	}
	return nil
}

// Offers are the instructions of an answer, in whichever field they stand.
func (r PollResponse) Offers() []Instruction {
	if len(r.Instructions) == 0 && r.Instruction != nil {
		return []Instruction{*r.Instruction}
	}
	return r.Instructions
}
