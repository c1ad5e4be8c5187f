package config

import (
	"errors"
	"fmt"
	"slices"
)

// Problem is one mistake in a configuration.
type Problem struct {
	Where string // the origin of the key; empty when nothing set it
	Key   string // dotted
	Text  string // the value, and what it must be
}

func (p *Problem) Error() string {
	if p.Where == "" {
		return p.Key + ": " + p.Text
	}
	return p.Where + ": " + p.Key + ": " + p.Text
}

// problems collects every mistake, so that a person need not meet them one by one.
type problems []*Problem

func (ps *problems) add(key, format string, args ...any) {
	*ps = append(*ps, &Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

// require adds a problem unless ok. must completes the sentence "the value must be".
func (ps *problems) require(ok bool, key string, value any, must string, args ...any) {
	if ok {
		return
	}
	if s, isText := value.(string); isText {
		value = fmt.Sprintf("%q", s)
	}
	ps.add(key, "%v: must be %s", value, fmt.Sprintf(must, args...))
}

// err joins them, one a line.
func (ps problems) err() error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func (ps problems) has(key string) bool {
	return slices.ContainsFunc(ps, func(p *Problem) bool { return p.Key == key })
}
