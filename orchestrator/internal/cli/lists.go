package cli

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// lister are the flags of a command that reads a list: how much of it, and what of it.
type lister struct {
	limit  int
	values map[string]*string  // by the parameter of the API, which is the flag's name too
	times  map[string]*string  // of these, those that are times
	oneOf  map[string][]string // what some of them take, and nothing else
}

// newLister adds the flag limit; most is its default, 0 for all.
func newLister(c *cobra.Command, most int) *lister {
	l := &lister{values: map[string]*string{}, times: map[string]*string{}, oneOf: map[string][]string{}}
	c.Flags().IntVar(&l.limit, "limit", most, "at most this many; 0 for all")
	return l
}

// filter adds a flag that chooses among the items.
func (l *lister) filter(c *cobra.Command, name, about string) {
	l.values[name] = c.Flags().String(name, "", about)
}

// choice adds a flag that chooses by one of the values that there are.
func (l *lister) choice(c *cobra.Command, name, about string, values []string) {
	l.filter(c, name, about)
	l.oneOf[name] = values
}

// none is what people are told where nothing is listed: empty, unless the flags chose.
func (l *lister) none(empty, what string) string {
	for _, flags := range []map[string]*string{l.values, l.times} {
		for _, value := range flags {
			if *value != "" {
				return "No " + what + " matches."
			}
		}
	}
	return empty
}

// time adds a flag that is a time, or how long ago that was.
func (l *lister) time(c *cobra.Command, name, about string) {
	l.times[name] = c.Flags().String(name, "", about+"; a time such as 2026-01-02T15:04:05Z, or how long ago, such as 24h")
}

// query is what the flags ask for.
func (l *lister) query() (url.Values, error) {
	out := url.Values{}
	for name, value := range l.values {
		if *value == "" {
			continue
		}
		if values := l.oneOf[name]; values != nil && !slices.Contains(values, *value) {
			return nil, usageError{fmt.Errorf("--%s %.40q: must be one of %s", name, *value, strings.Join(values, ", "))}
		}
		out.Set(name, *value)
	}
	for name, value := range l.times {
		if *value == "" {
			continue
		}
		at, err := instant(*value)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s %q: %w", name, *value, err)}
		}
		out.Set(name, at.UTC().Format(time.RFC3339))
	}
	if l.limit < 0 {
		return nil, usageError{fmt.Errorf("--limit %d: must be 0, for all, or more", l.limit)}
	}
	return out, nil
}

func instant(text string) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("must be a time such as 2026-01-02T15:04:05Z, or how long ago, such as 30m or 24h")
	}
	return t, nil
}

// readList reads what the flags ask for.
func readList[T any](cmd *cobra.Command, o *options, path string, l *lister) ([]T, error) {
	query, err := l.query()
	if err != nil {
		return nil, err
	}
	return operatorapi.List[T](cmd.Context(), o.client(), path, query, l.limit)
}
