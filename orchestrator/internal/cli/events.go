package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathEvents = "/api/v1/events"

func eventsCommand(o *options) *cobra.Command {
	return group("events", "List and follow events", eventsList(o))
}

// eventFilter are the flags that choose events.
type eventFilter struct{ typ, agent string }

func (f *eventFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.typ, "type", "", "only events of this `type`")
	c.Flags().StringVar(&f.agent, "agent", "", "only events of the agent of this `id`")
}

func (f *eventFilter) query() url.Values { return url.Values{"type": {f.typ}, "agent": {f.agent}} }

func eventsList(o *options) *cobra.Command {
	var filter eventFilter
	var limit int
	var follow bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List events, newest first, or print them as they arrive",
		Example: "  stavily events list --type disk.space.high --agent web-01\n  stavily events list --follow -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if follow {
				return followLines(cmd, o, pathEvents+"/follow", filter.query(), eventLine)
			}
			query := filter.query()
			query.Set("limit", strconv.Itoa(limit))
			var events []operatorapi.Event
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathEvents, query, nil, &events); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, events, "No events. Sensors send one when a monitor notices something.",
				"EVENT|TYPE|SEVERITY|AGENT|MONITOR|RECEIVED", func(e operatorapi.Event) []string {
					return []string{string(e.ID), e.Type, string(e.Severity), string(e.Agent), e.Monitor, ago(e.ReceivedAt)}
				})
		},
	}
	filter.flags(c)
	c.Flags().IntVar(&limit, "limit", 50, "at most this many, 1 to 500; all with --follow")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "print the latest and then each new one, until interrupted")
	return c
}

func eventLine(e operatorapi.Event) string {
	return fmt.Sprintf("%s  %-8s  %s  %s  %s", clock(e.ReceivedAt), e.Severity, e.Type, e.Agent, e.ID)
}
