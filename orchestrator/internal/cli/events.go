package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathEvents = "/api/v1/events"

func eventsCommand(o *options) *cobra.Command {
	return group("events", "List and follow events", eventsList(o))
}

func eventsList(o *options) *cobra.Command {
	var l *lister
	var follow bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List events, newest first, or print them as they arrive",
		Example: "  stavily events list --type disk.space.high --agent web-01\n  stavily events list --severity critical --since 24h\n  stavily events list --follow -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if follow {
				query, err := l.query()
				if err != nil {
					return err
				}
				return followLines(cmd, o, pathEvents+"/follow", query, func(e operatorapi.Event) int64 { return e.Cursor }, eventLine)
			}
			events, err := readList[operatorapi.Event](cmd, o, pathEvents, l)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, events, l.none("No events. Sensors send one when a monitor notices something.", "event"),
				"EVENT|TYPE|SEVERITY|AGENT|MONITOR|RECEIVED", func(e operatorapi.Event) []string {
					return []string{string(e.ID), e.Type, string(e.Severity), string(e.Agent), e.Monitor, ago(e.ReceivedAt)}
				})
		},
	}
	l = newLister(c, 50)
	l.filter(c, "type", "only events of this `type`")
	l.filter(c, "agent", "only events of the agent of this `id`")
	l.choice(c, "severity", "only events that are: low, medium, high or critical", operatorapi.Severities())
	l.time(c, "since", "only events received from this `time` on")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "print each new one, until interrupted")
	for _, name := range []string{"limit", "severity", "since"} {
		c.MarkFlagsMutuallyExclusive("follow", name)
	}
	return c
}

func eventLine(e operatorapi.Event) string {
	return fmt.Sprintf("%s  %-8s  %s  %s  %s", clock(e.ReceivedAt), e.Severity, e.Type, e.Agent, e.ID)
}
