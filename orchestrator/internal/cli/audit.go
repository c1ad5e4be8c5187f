package cli

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

func auditCommand(o *options) *cobra.Command {
	return group("audit", "List what was changed and what was refused", auditList(o))
}

func auditList(o *options) *cobra.Command {
	var limit int
	var after int64
	c := &cobra.Command{
		Use:     "list",
		Short:   "List audit records, oldest first",
		Example: "  stavily audit list\n  stavily audit list --after 500 --limit 500   # the next page",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}, "after": {strconv.FormatInt(after, 10)}}
			var rows []operatorapi.Audit
			if err := o.client().Do(cmd.Context(), http.MethodGet, "/api/v1/audit", query, nil, &rows); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, rows, "Nothing is on record.",
				"SEQ|WHEN|WHO|DID|TO|DETAIL", func(a operatorapi.Audit) []string {
					return []string{strconv.FormatInt(a.Seq, 10), ago(a.At), a.Actor, a.Action, a.Object, a.Detail}
				})
		},
	}
	c.Flags().Int64Var(&after, "after", 0, "only records after this `SEQ`")
	c.Flags().IntVar(&limit, "limit", 50, "at most this many, 1 to 500")
	return c
}
