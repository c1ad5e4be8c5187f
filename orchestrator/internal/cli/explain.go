package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/workflow"
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
			if o.structured() {
				return o.print(cmd.OutOrStdout(), all)
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
		fmt.Fprintln(tw)
		evaluation(tw, v)
	}
	return tw.Flush()
}

func evaluation(w io.Writer, v operatorapi.Evaluation) {
	version := ""
	if v.Version > 0 {
		version = fmt.Sprintf(" version %d", v.Version)
	}
	fmt.Fprintf(w, "%s%s: %s\n", cell(v.Workflow), version, printable(became(v)))
	for _, c := range v.Decision.Clauses {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", c.Outcome, cell(c.Clause), cell(c.Value))
	}
	for _, b := range v.Decision.Begins {
		fmt.Fprintf(w, "  would start\t%s: plugin %s on %s\t%s\n", cell(b.Step), cell(string(b.Plugin)), cell(b.Target.String()), cell(inputOf(b)))
	}
	if v.Run == nil {
		return
	}
	for _, s := range v.Run.Steps {
		fmt.Fprintf(w, "  step\t%s: %s\t%s\n", cell(s.Step), s.Status, cell(strings.TrimSpace(s.Message)))
	}
}

func inputOf(b workflow.Begin) string {
	if len(b.Input) == 0 {
		return "without input"
	}
	text, err := json.Marshal(b.Input)
	if err != nil { // it came as JSON
		return err.Error()
	}
	return string(text)
}

func became(v operatorapi.Evaluation) string {
	switch {
	case v.Run != nil:
		said := fmt.Sprintf("started run %s, which is %s", v.Run.ID, v.Run.Status)
		if v.Run.Error != "" {
			said += ": " + v.Run.Error
		}
		return said
	case v.Decision.Run && v.Decision.Shadow:
		return "would run; nothing was executed"
	case v.Decision.Run:
		return "was to run and could not start; the server's log says why"
	}
	return "did not run: " + v.Decision.Reason
}
