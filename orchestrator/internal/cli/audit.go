package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

func auditCommand(o *options) *cobra.Command {
	return group("audit", "List what was changed and what was refused", auditList(o))
}

func auditList(o *options) *cobra.Command {
	var l *lister
	var newest bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List audit records, oldest first",
		Example: "  stavily audit list --newest\n  stavily audit list --action agent.revoke --since 720h\n  stavily audit list --after 500 --limit 500   # the next page",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := l.query()
			if err != nil {
				return err
			}
			if newest {
				query.Set("newest", "true")
			}
			rows, err := operatorapi.List[operatorapi.Audit](cmd.Context(), o.client(), "/api/v1/audit", query, l.limit)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, rows, "Nothing is on record.",
				"SEQ|WHEN|WHO|DID|TO|DETAIL", func(a operatorapi.Audit) []string {
					return []string{strconv.FormatInt(a.Seq, 10), ago(a.At), a.Actor, a.Action, a.Object, a.Detail}
				})
		},
	}
	l = newLister(c, 50)
	l.filter(c, "after", "only records after this `SEQ`")
	l.filter(c, "actor", "only what this `one` did, for example operator or agent web-01")
	l.filter(c, "action", "only this `action`, for example workflow.apply")
	l.filter(c, "object", "only what was done to this `object`")
	l.time(c, "since", "only records from this `time` on")
	c.Flags().BoolVar(&newest, "newest", false, "the newest first")
	return c
}
