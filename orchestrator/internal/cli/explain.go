package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

func explainCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "explain EVENT",
		Short: "Say what became of an event, and why: clause by clause, workflow by workflow",
		Long: `Say what became of an event, and why. Every workflow whose triggers take its type has left an
evaluation: what was asked, of which value, and what it came to. Where a run was started,
it is told how its steps stand and what they wait for.`,
		Example: "  stavily events list\n  stavily explain 01K8Z5V6J3Q0M7E2W1R9T4Y8AB",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []operatorapi.Explanation
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathEvents, args[0], "explanation"), nil, nil, &all); err != nil {
				return err
			}
			if o.output == "json" {
				return showJSON(cmd.OutOrStdout(), all)
			}
			for _, e := range all {
				if err := explain(cmd.OutOrStdout(), e); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func explain(w io.Writer, e operatorapi.Explanation) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "Event %s, %s, from agent %s, %s\n", cell(string(e.Event.ID)), cell(e.Event.Type), cell(string(e.Event.Agent)), ago(e.Event.ReceivedAt))
	if len(e.Evaluations) == 0 {
		fmt.Fprintf(tw, "\nNo workflow took events of type %s when it arrived: \"stavily workflows list\" shows those in effect now.\n", cell(e.Event.Type))
	}
	for _, v := range e.Evaluations {
		fmt.Fprintf(tw, "\n%s version %d: %s\n", cell(v.Workflow), v.Version, printable(became(v)))
		for _, c := range v.Decision.Clauses {
			fmt.Fprintf(tw, "  %s\t%s\t%s\n", c.Outcome, cell(c.Clause), cell(c.Value))
		}
		if v.Run == nil {
			continue
		}
		for _, s := range v.Run.Steps {
			fmt.Fprintf(tw, "  step\t%s: %s\t%s\n", cell(s.Step), s.Status, cell(strings.TrimSpace(s.Message)))
		}
	}
	return tw.Flush()
}

func became(v operatorapi.Evaluation) string {
	switch {
	case v.Run != nil:
		return fmt.Sprintf("started run %s, which is %s", v.Run.ID, v.Run.Status)
	case v.Decision.Run:
		return "was to run and could not start; the server's log says why"
	}
	return "did not run: " + v.Decision.Reason
}
