package agentsocket

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/memo"
)

// stateParams are those of all three methods.
type stateParams struct {
	Key   *string         `json:"key"`
	Value json.RawMessage `json:"value"`
}

var (
	errNoKey   = errors.New("key: is missing")
	errNoValue = errors.New("value: is missing: delete_state forgets one")
	errNoMemo  = errors.New("this process has nowhere to keep its state")
)

func (s *server) stateParams(method string, params json.RawMessage) (p stateParams, err error) {
	if s.opts.Memo == nil {
		return p, errNoMemo
	}
	if err := limits.UnmarshalJSON(params, &p); err != nil {
		return p, wrong(method, err)
	}
	return p, nil
}

func (s *server) getState(_ context.Context, params json.RawMessage) (any, error) {
	p, err := s.stateParams("get_state", params)
	if err != nil {
		return nil, err
	}
	all, err := s.opts.Memo.All()
	if err != nil {
		return nil, err
	}
	if p.Key == nil {
		return map[string]any{"state": all}, nil
	}
	value, found := all[*p.Key]
	if !found {
		value = json.RawMessage("null")
	}
	return map[string]any{"value": value}, nil
}

func (s *server) setState(_ context.Context, params json.RawMessage) (any, error) {
	p, err := s.stateParams("set_state", params)
	switch {
	case err != nil:
		return nil, err
	case p.Key == nil:
		return nil, wrong("set_state", errNoKey)
	case p.Value == nil:
		return nil, wrong("set_state", errNoValue)
	}
	return empty{}, kept("set_state", s.opts.Memo.Set(*p.Key, p.Value))
}

func (s *server) deleteState(_ context.Context, params json.RawMessage) (any, error) {
	p, err := s.stateParams("delete_state", params)
	if err == nil && p.Key == nil {
		err = wrong("delete_state", errNoKey)
	}
	if err != nil {
		return nil, err
	}
	return empty{}, kept("delete_state", s.opts.Memo.Delete(*p.Key))
}

// kept tells a mistake of the plugin from one of the agent.
func kept(method string, err error) error {
	if errors.Is(err, memo.ErrRefused) {
		return wrong(method, err)
	}
	return err
}
