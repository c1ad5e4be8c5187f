package cli

import (
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

func workflowsRun(o *options) *cobra.Command {
	var r operatorapi.StartRequest
	c := &cobra.Command{
		Use:   "run NAME",
		Short: "Start a run by hand",
		Long: `Start a run of a workflow that has a trigger manual. Its condition, cooldown and limits decide on it
as on any other; where it does not start, they say why, and the command fails.`,
		Example: "  stavily workflows run cleanup --input mount=/var --input keep_days=7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ownName(cmd, &r.By)
			var v operatorapi.Evaluation
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathWorkflows, args[0], "run"), nil, r, &v); err != nil {
				return err
			}
			var refused error
			if v.Run == nil && !v.Decision.Shadow {
				refused = errors.New("no run was started: " + v.Decision.Reason)
			}
			if o.structured() {
				return errors.Join(refused, o.print(cmd.OutOrStdout(), v))
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(tw, "Event %s\n", v.Event)
			evaluation(tw, v)
			return errors.Join(refused, tw.Flush())
		},
	}
	c.Flags().StringToStringVar(&r.Inputs, "input", nil, "`name=value` of an input; may be given several times")
	c.Flags().StringVar(&r.By, "by", person(), "`name` of who starts it")
	c.Flags().Lookup("by").DefValue = "the user who calls"
	return c
}
