package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/backup"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/store"
)

// maxKeyFile bounds what is read of a file with passphrases or keys of people.
const maxKeyFile = 64 << 10

func backupCommand(o *options) *cobra.Command {
	var recipients []string
	var passphrase, shared string
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that the server on this machine is into one file, while it runs",
		Long: `Write the SQLite database as it is at one moment, the certificate authority with its key,
and the packages into a new file. A server may be running; it is not held up.

The keys that secrets are sealed with are left out unless the file is encrypted, so that
it gives nobody the secrets: keep a copy of secrets.key elsewhere. Encrypt to a public
key of age (https://age-encryption.org), whose private key need not be on this machine,
or with a passphrase. Unencrypted, the file still has the key that all agents trust: keep
it as safe as the server.

With PostgreSQL, use pg_dump, and copy ca, packages and secrets.key of the shared directory.`,
		Example: `  stavily backup /backup/stavily-$(date +%F).tar.gz
  stavily backup --recipient age1… /backup/stavily-$(date +%F).tar.gz.age`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seal, err := sealing(recipients, passphrase)
			if err != nil {
				return err
			}
			m, err := backup.Write(cmd.Context(), backup.Source{DataDir: o.dataDir, SharedDir: shared, Seal: seal}, args[0])
			if err != nil {
				return err
			}
			if !m.Has(backup.Keys) {
				fmt.Fprintln(cmd.ErrOrStderr(), "The keys of secrets are not in it: keep a copy of secrets.key, or of what --secrets-key-file names.")
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), m)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has %d files, as they were at %s.\n", args[0], len(m.Files), m.MadeAt.Format(time.RFC3339))
			return err
		},
	}
	c.Flags().StringArrayVar(&recipients, "recipient", nil, "encrypt it so that whoever has the private key of this public `key` of age can open it; may be given several times")
	passphraseFlag(c.Flags(), &passphrase)
	c.Flags().StringVar(&shared, "shared-dir", "", "`directory` of the certificate authority and the packages, where the server has another than its data directory")
	return c
}

func passphraseFlag(f *pflag.FlagSet, file *string) {
	f.StringVar(file, "passphrase-file", "", "`file` with the passphrase that it is encrypted with")
}

// sealing is who can open a backup.
func sealing(recipients []string, passphrase string) (out []age.Recipient, err error) {
	if passphrase != "" && len(recipients) > 0 {
		return nil, usageError{errors.New("--passphrase-file and --recipient: say one of them")}
	}
	if passphrase != "" {
		text, err := readPassphrase(passphrase)
		if err != nil {
			return nil, err
		}
		one, err := age.NewScryptRecipient(text)
		return []age.Recipient{one}, err
	}
	for _, text := range recipients {
		one, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, usageError{fmt.Errorf("--recipient %.80q: must be a public key of age, age1…", text)}
		}
		out = append(out, one...)
	}
	return out, nil
}

func readPassphrase(file string) (string, error) {
	text, err := limits.ReadFile(file, maxKeyFile)
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	if word := strings.TrimRight(string(text), "\r\n"); word != "" {
		return word, nil
	}
	return "", fmt.Errorf("--passphrase-file %s: it is empty", file)
}

// opening is with what a backup is opened.
func opening(identities, passphrase string) ([]age.Identity, error) {
	if passphrase != "" && identities != "" {
		return nil, usageError{errors.New("--passphrase-file and --identity-file: say one of them")}
	}
	if passphrase != "" {
		text, err := readPassphrase(passphrase)
		if err != nil {
			return nil, err
		}
		one, err := age.NewScryptIdentity(text)
		return []age.Identity{one}, err
	}
	if identities == "" {
		return nil, nil
	}
	text, err := limits.ReadFile(identities, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--identity-file: %w", err)
	}
	all, err := age.ParseIdentities(strings.NewReader(string(text)))
	if err != nil {
		return nil, fmt.Errorf("--identity-file %s: %w", identities, err)
	}
	return all, nil
}

func restoreCommand(o *options) *cobra.Command {
	var identities, passphrase, made string
	var db database
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data directory of a backup, for a server to go on with",
		Long: `Make the data directory of a file that stavily backup wrote. The directory must not be
there, or be empty: nothing is restored over a state, nor under a running server. What the
file has is compared with its manifest, and the database is looked at as stavily fsck does.

Agents have gone on since the backup was made, so whatever was under way in it ends as
failed, windows are dropped and schedules wait for their next time: nothing is done twice.
Retry what is to be done. Each organisation's audit log says so.

--in-place MADE does only that, for a database that was restored by other means, such as
pg_restore, from a backup that was made at that time. All servers must be stopped.`,
		Example: `  stavily restore /backup/stavily-2026-11-26.tar.gz --data-dir /var/lib/stavily/server
  stavily restore --in-place 2026-11-26T03:00:00Z --database-file /etc/stavily/database`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (made != "") {
				return usageError{errors.New("say one of FILE and --in-place")}
			}
			url, err := db.resolve()
			if err != nil {
				return err
			}
			if made != "" {
				at, err := time.Parse(time.RFC3339, made)
				if err != nil {
					return usageError{fmt.Errorf("--in-place %q: must be the time that the backup was made, as in 2026-11-26T03:00:00Z", made)}
				}
				return o.settleInPlace(cmd, url, at)
			}
			if url != "" {
				return usageError{errors.New("a file of stavily backup is of SQLite: restore PostgreSQL with pg_restore, then use --in-place")}
			}
			open, err := opening(identities, passphrase)
			if err != nil {
				return err
			}
			return o.restore(cmd, args[0], open)
		},
	}
	db.register(c.Flags())
	c.Flags().StringVar(&identities, "identity-file", "", "`file` with the private key of age that opens it")
	passphraseFlag(c.Flags(), &passphrase)
	c.Flags().StringVar(&made, "in-place", "", "settle a database that was restored by other means from a backup of this `time`")
	return c
}

// restore unpacks a backup and settles what is in it.
func (o *options) restore(cmd *cobra.Command, file string, open []age.Identity) error {
	var found error
	m, err := backup.Restore(cmd.Context(), file, o.dataDir, open, func(dir string, m backup.Manifest) error {
		found = o.settle(cmd, server.Options{DataDir: dir}, m.MadeAt)
		var wrong findings
		if errors.As(found, &wrong) {
			return nil // the only backup there may be
		}
		return found
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is the server of %s. Start it; agents go on by themselves.\n", o.dataDir, m.MadeAt.Format(time.RFC3339))
	if !m.Has(backup.Keys) {
		fmt.Fprintf(cmd.ErrOrStderr(), "The keys of secrets were not in it: put your copy at %s before you start the server, or secrets cannot be read.\n", filepath.Join(o.dataDir, backup.Keys))
	}
	return found
}

// settleInPlace settles the database of a stopped server.
func (o *options) settleInPlace(cmd *cobra.Command, url string, made time.Time) error {
	if url == "" {
		unlock, err := lockfile.Lock(filepath.Join(o.dataDir, "server.lock"))
		if err != nil {
			return fmt.Errorf("the server must be stopped: %w", err)
		}
		defer unlock()
	}
	return o.settle(cmd, server.Options{DataDir: o.dataDir, Database: url}, made)
}

// findings is of a database with which something is wrong.
type findings struct{ error }

// settle ends what was under way in a restored database, and looks at what it is like.
func (o *options) settle(cmd *cobra.Command, so server.Options, made time.Time) error {
	if so.Database == "" {
		if _, err := os.Stat(filepath.Join(so.DataDir, server.DatabaseName)); err != nil {
			return fmt.Errorf("there is no database: %w", err)
		}
	}
	report, ended, err := settleStore(account.As(cmd.Context(), "restore"), so, made)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d runs that were under way ended as failed.\n", ended)
	if err := showReport(cmd, o, report); err != nil {
		return err
	}
	if n := len(report.Findings) + report.More; n > 0 {
		return findings{fmt.Errorf("%d things are wrong with this database: look at them before you start a server", n)}
	}
	return nil
}

func settleStore(ctx context.Context, so server.Options, made time.Time) (report fsck.Report, ended int, err error) {
	st, err := server.OpenStore(ctx, so)
	if err != nil {
		return report, 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	ended, err = settleAll(ctx, st, engine.New(st, nil, engine.Options{Logger: slog.New(slog.DiscardHandler)}), made)
	if err != nil {
		return report, ended, err
	}
	report, err = fsck.Check(ctx, st)
	return report, ended, err
}

func settleAll(ctx context.Context, st store.Store, e *engine.Engine, made time.Time) (ended int, err error) {
	orgs, err := st.Orgs(ctx)
	for _, org := range orgs {
		n, failure := e.Settle(ctx, org, made)
		ended += n
		if failure != nil {
			err = errors.Join(err, fmt.Errorf("organisation %s: %w", org, failure))
		}
	}
	return ended, err
}
