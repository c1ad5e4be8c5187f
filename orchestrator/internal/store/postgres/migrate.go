package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// own are the tables that only this engine has.
const own = `
CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied TIMESTAMPTZ NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS turns (
	org TEXT COLLATE "C" NOT NULL, server TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now(),
	PRIMARY KEY (org, server)
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS leases (
	name TEXT PRIMARY KEY, holder TEXT NOT NULL, until TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL);`

// schemaLock is held by the server that changes the schema. The number is arbitrary.
const schemaLock = 7_283_461_905

// migrate brings the schema to the newest version known here, or refuses a newer one.
func migrate(ctx context.Context, config *pgx.ConnConfig) (err error) {
	return withSchema(ctx, config, func(conn *pgx.Conn, have int) error {
		pending, err := sqlstore.Pending(have)
		if err != nil {
			return err
		}
		for _, m := range pending {
			if err := inTransaction(ctx, conn, m.Up, `INSERT INTO schema_version (version, name) VALUES ($1, $2)`, m.Version, m.Name); err != nil {
				return fmt.Errorf("migration %s: %w", m.Name, err)
			}
		}
		return nil
	})
}

// Revert takes the schema back to an earlier version, for an earlier release; what only later
// ones keep is lost. No server may run.
func Revert(ctx context.Context, url string, to int) error {
	config, err := poolConfig(url)
	if err != nil {
		return fmt.Errorf("revert database: %w", err)
	}
	return withSchema(ctx, config.ConnConfig, func(conn *pgx.Conn, have int) error {
		undo, err := sqlstore.Reverting(have, to)
		if err != nil {
			return fmt.Errorf("revert database: %w", err)
		}
		for _, m := range undo {
			if err := inTransaction(ctx, conn, m.Down, `DELETE FROM schema_version WHERE version = $1`, m.Version); err != nil {
				return fmt.Errorf("undo migration %s: %w", m.Name, err)
			}
		}
		return nil
	})
}

// withSchema gives f the version of the schema, which no other server changes meanwhile.
func withSchema(ctx context.Context, config *pgx.ConnConfig, f func(conn *pgx.Conn, have int) error) (err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(schemaLock)); err != nil {
		return err
	}
	have, err := version(ctx, conn)
	if err != nil {
		return err
	}
	return f(conn, have)
}

func version(ctx context.Context, conn *pgx.Conn) (have int, err error) {
	if _, err := conn.Exec(ctx, own); err != nil {
		return 0, err
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM schema_version`).Scan(&have)
	return have, err
}

// inTransaction runs the texts of a migration with the statement that keeps account of it.
func inTransaction(ctx context.Context, conn *pgx.Conn, texts, account string, args ...any) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlstore.ForPostgres(texts), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, account, args...)
		return err
	})
}
