package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/postgres"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
)

func auditCommand(o *options) *cobra.Command {
	return group("audit", "List what was changed and what was refused", auditList(o), auditVerify(o))
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
			if after := query.Get("after"); after != "" {
				if err := new(natural).Set(after); err != nil {
					return usageError{fmt.Errorf("--after %.40q: %w", after, err)}
				}
			}
			if newest {
				query.Set("newest", "true")
			}
			rows, err := operatorapi.List[operatorapi.Audit](cmd.Context(), o.client(), "/api/v1/audit", query, l.limit)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, rows, l.none("Nothing is on record.", "record"),
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

func auditVerify(o *options) *cobra.Command {
	var db database
	var seq int64
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check in the database that no audit record was changed or taken out",
		Long: `Follow the audit records of the organisation in the database of the data directory, or in
the one that is named, of which each has the digest of the one before: a record that was
changed, added or taken out between others is named. Whoever can write to the database can
make the digests anew from there on: keep the last digest, which this prints, somewhere
else; --seq prints the one of an earlier record, to compare. A server may be running. Exit code 1 says that something was found.`,
		Example: "  stavily audit verify\n  stavily audit verify --database-file /etc/stavily/database -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cmd.Flags().Changed("seq") && seq < 1 {
				return usageError{fmt.Errorf("--seq %d: must be the number of a record, from 1", seq)}
			}
			st, err := o.openStore(cmd.Context(), db)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, st.Close()) }()
			trail, wrong, err := fsck.Audit(cmd.Context(), st, api.OrgID(o.org), seq)
			if err != nil {
				return err
			}
			if len(wrong) > 0 {
				return fmt.Errorf("the audit records are not as they were written: %s (of %d findings): keep a copy of the database for whoever looks into it", wrong[0], len(wrong))
			}
			return show(cmd.OutOrStdout(), o, []fsck.Trail{trail}, "Nothing is on record.", "RECORDS|LAST|DIGEST", func(t fsck.Trail) []string {
				return []string{strconv.Itoa(t.Records), strconv.FormatInt(t.Seq, 10), t.Digest}
			})
		},
	}
	db.register(c.Flags())
	c.Flags().Int64Var(&seq, "seq", 0, "print the digest of this `record` (default: the last)")
	return c
}

// openStore opens the database itself, without a server.
func (o *options) openStore(ctx context.Context, db database) (store.Store, error) {
	url, err := db.resolve()
	if err != nil {
		return nil, err
	}
	if url != "" {
		return postgres.Open(ctx, url)
	}
	path := filepath.Join(o.dataDir, server.DatabaseName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no database: %w", err)
	}
	return sqlite.Open(ctx, path)
}
