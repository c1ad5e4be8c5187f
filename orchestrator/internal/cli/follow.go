package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// A stream that was cut is asked for again, for as long as a server takes to restart.
const (
	followAgain = time.Second
	maxAgain    = 60 // in a row
)

// followLines prints every value of a stream as one line. When the server goes away, it goes
// on after the last one once it is back; place says where a value stands.
func followLines[T any](cmd *cobra.Command, o *options, path string, query url.Values, place func(T) int64, line func(T) string) error {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	tries, connected := 0, false
	for {
		err := o.client().Follow(cmd.Context(), path, query, func(raw json.RawMessage) error {
			var v T
			if err := limits.UnmarshalJSON(raw, &v); err != nil {
				return err
			}
			tries = 0
			query.Set("cursor", strconv.FormatInt(place(v), 10))
			return printLine(cmd, o, raw, func() string { return line(v) })
		})
		if errors.Is(err, operatorapi.ErrCut) {
			tries, connected = 0, true
			say(cmd.ErrOrStderr(), "the server went away; waiting for it")
		}
		if tries++; !connected || !errors.Is(err, operatorapi.ErrUnreachable) || tries > maxAgain {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(followAgain):
		}
	}
}

func printLine(cmd *cobra.Command, o *options, raw json.RawMessage, line func() string) error {
	switch o.output {
	case "json":
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
		return err
	case "yaml":
		fmt.Fprintln(cmd.OutOrStdout(), "---")
		return writeYAML(cmd.OutOrStdout(), raw)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), cell(line()))
	return err
}
