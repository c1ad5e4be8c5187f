package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// shadowEvents is how many of the events that would have led to runs are shown; -o json has more.
const shadowEvents = 10

func workflowsShadow(o *options) *cobra.Command {
	since := ""
	c := &cobra.Command{
		Use:   "shadow NAME",
		Short: "Tell what a workflow in mode shadow would have done",
		Long: `Tell what a workflow in mode shadow would have done since a time: how many runs it would have
started, what they would have begun with and where, and what decided against the others. It is
about the 20000 newest events at most.`,
		Example: "  stavily workflows shadow disk-full\n  stavily workflows shadow disk-full --since 24h -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := instant(since)
			if err != nil {
				return usageError{fmt.Errorf("--since %q: %w", since, err)}
			}
			var r workflow.ShadowReport
			query := url.Values{"since": {at.UTC().Format(time.RFC3339)}}
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathWorkflows, args[0], "shadow"), query, nil, &r); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), r)
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			shadowReport(tw, r)
			return tw.Flush()
		},
	}
	c.Flags().StringVar(&since, "since", "168h", "from this `time` on; a time such as 2026-01-02T15:04:05Z, or how long ago, such as 24h")
	return c
}

func shadowReport(tw *tabwriter.Writer, r workflow.ShadowReport) {
	fmt.Fprintf(tw, "%s in shadow since %s: of %d events %d would have started a run.\n", cell(r.Workflow), full(r.Since), r.Events, r.Runs)
	if r.Older {
		fmt.Fprintf(tw, "Older ones are not counted; --since a later time counts all.\n")
	}
	if r.Events == 0 {
		fmt.Fprintf(tw, "Events are reported from when a version with mode: shadow took them.\n")
	}
	if len(r.Begins) > 0 {
		fmt.Fprintf(tw, "\nWould have begun with\n")
	}
	for _, b := range r.Begins {
		fmt.Fprintf(tw, "%d\t%s\t%s\ton %s\tfor events of %s\n", b.Count, cell(b.Step), cell(string(b.Plugin)), cell(b.Target), cell(string(b.Agent)))
	}
	if len(r.Reasons) > 0 {
		fmt.Fprintf(tw, "\nNot met by the others\n")
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(tw, "%d\t%s\n", reason.Count, cell(reason.Clause))
	}
	if len(r.Last) > 0 {
		fmt.Fprintf(tw, "\nThe last that would have (stavily explain EVENT)\n")
	}
	for _, e := range r.Last[:min(len(r.Last), shadowEvents)] {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", cell(string(e.Event)), cell(string(e.Agent)), ago(e.At))
	}
}
