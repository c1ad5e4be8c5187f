package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/store/postgres"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

func migrateCommand(o *options) *cobra.Command {
	var db database
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Move the state of a stopped server from SQLite to PostgreSQL",
		Long: `Copy everything in the SQLite database of the data directory into an empty database of
PostgreSQL, in one transaction: all of it is there afterwards, or nothing. The server must
be stopped; the SQLite database stays as it is. The certificate authority and the packages
are not in the database: give the servers this data directory, or a copy of its ca and
packages, as --shared-dir.`,
		Example: `  stavily migrate --database postgres://stavily@db.example.com/stavily?sslmode=verify-full
  stavily migrate --database-file /etc/stavily/database`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, err := db.resolve()
			if err == nil && url == "" {
				err = usageError{errors.New("say where to: --database, --database-file or " + envDatabase)}
			}
			if err != nil {
				return err
			}
			unlock, err := lockfile.Lock(filepath.Join(o.dataDir, "server.lock"))
			if err != nil {
				return fmt.Errorf("the server must be stopped: %w", err)
			}
			defer unlock()
			return migrate(cmd.Context(), cmd.OutOrStdout(), filepath.Join(o.dataDir, server.DatabaseName), url)
		},
	}
	db.register(c.Flags())
	c.AddCommand(revertCommand(o))
	return c
}

// migrate copies the tables and says how many rows each has.
func migrate(ctx context.Context, out io.Writer, path, url string) (err error) {
	to, err := postgres.Import(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close(context.WithoutCancel(ctx))) }()
	var all int64
	err = sqlite.Export(ctx, path, func(name string, columns []string, rows sqlstore.Rows) error {
		n, err := to.Table(ctx, name, columns, rows)
		if err != nil {
			return err
		}
		all += n
		_, err = fmt.Fprintf(out, "%-16s %10d\n", name, n)
		return err
	})
	if err != nil {
		return err
	}
	if err := to.Commit(ctx); err != nil {
		return fmt.Errorf("nothing was moved: %w", err)
	}
	_, err = fmt.Fprintf(out, "%d rows are in PostgreSQL; %s is as it was.\n", all, path)
	return err
}

func revertCommand(o *options) *cobra.Command {
	var db database
	c := &cobra.Command{
		Use:   "revert VERSION",
		Short: "Take the schema of a stopped server's database back, for an earlier release",
		Long: `Undo migrations of the schema, the last first, until it has the version that an earlier
release knows; that release says which when it refuses to start. What only later releases
keep is lost: make a backup first. All servers must be stopped.`,
		Example: `  stavily migrate revert 10
  stavily migrate revert 10 --database-file /etc/stavily/database`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.Atoi(args[0])
			if err != nil || version < 1 {
				return usageError{fmt.Errorf("version %q: must be a number from 1", args[0])}
			}
			url, err := db.resolve()
			if err != nil {
				return err
			}
			unlock, err := lockfile.Lock(filepath.Join(o.dataDir, "server.lock"))
			if err != nil {
				return fmt.Errorf("the server must be stopped: %w", err)
			}
			defer unlock()
			if url != "" {
				return postgres.Revert(cmd.Context(), url, version)
			}
			return sqlite.Revert(cmd.Context(), filepath.Join(o.dataDir, server.DatabaseName), version)
		},
	}
	db.register(c.Flags())
	return c
}
