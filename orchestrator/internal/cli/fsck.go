package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
)

func fsckCommand(o *options) *cobra.Command {
	var db database
	c := &cobra.Command{
		Use:   "fsck",
		Short: "Look for what cannot be in the database",
		Long: `Look at everything in the database of the data directory, or in the one of PostgreSQL
that is named, and print what in it cannot be: a run that says something else than its history, a step that waits for nothing,
an event that started two runs, a hole in the audit records, a broken page of SQLite.

Nothing is changed. A server may be running; what was restored from a backup is looked
at before one is started. Exit code 1 says that something was found.`,
		Example: "  stavily fsck\n  stavily fsck --data-dir /srv/restored -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, err := db.resolve()
			if err != nil {
				return err
			}
			report, err := checkStore(cmd.Context(), server.Options{DataDir: o.dataDir, Database: url})
			if err != nil {
				return err
			}
			if err := showReport(cmd, o, report); err != nil {
				return err
			}
			if n := len(report.Findings) + report.More; n > 0 {
				return fmt.Errorf("%d things are wrong with this database: keep a copy of it for whoever looks into it, and restore a backup where you can", n)
			}
			return nil
		},
	}
	db.register(c.Flags())
	return c
}

// checkStore has SQLite look at its file, then looks at what the store says.
func checkStore(ctx context.Context, o server.Options) (report fsck.Report, err error) {
	var broken []string
	path := filepath.Join(o.DataDir, server.DatabaseName)
	if o.Database == "" {
		if broken, err = sqlite.Integrity(ctx, path); err != nil {
			return report, err
		}
	}
	st, err := server.OpenStore(ctx, o)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if report, err = fsck.Check(ctx, st); err != nil {
		return report, err
	}
	for _, line := range broken {
		report.Findings = append(report.Findings, fsck.Finding{Object: "file " + path, Problem: line})
	}
	return report, nil
}

func showReport(cmd *cobra.Command, o *options, r fsck.Report) error {
	if o.structured() {
		return o.print(cmd.OutOrStdout(), r)
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), printable(f.String())); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d organisations, %d agents, %d events, %d runs, %d instructions, %d audit records: %d findings\n",
		r.Orgs, r.Agents, r.Events, r.Runs, r.Instructions, r.Audit, len(r.Findings)+r.More)
	return err
}
