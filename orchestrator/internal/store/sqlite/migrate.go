package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// migrate brings the schema to the newest version known here.
func migrate(ctx context.Context, db *sql.DB) error {
	have, err := version(ctx, db)
	if err != nil {
		return err
	}
	pending, err := sqlstore.Pending(have)
	if err != nil {
		return err
	}
	for _, m := range pending {
		applied := time.Now().UTC().Format(time.RFC3339)
		if err := inTransaction(ctx, db, m.Up, `INSERT INTO schema_version (version, name, applied) VALUES (?, ?, ?)`, m.Version, m.Name, applied); err != nil {
			return fmt.Errorf("migration %s: %w", m.Name, err)
		}
	}
	return nil
}

func version(ctx context.Context, db *sql.DB) (have int, err error) {
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied TEXT NOT NULL) STRICT`)
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&have)
	return have, err
}

// Revert takes the schema back to an earlier version, for an earlier release; what only later
// ones keep is lost. No server may run.
func Revert(ctx context.Context, path string, to int) (err error) {
	defer func() { err = damaged(path, err) }()
	db, err := connect(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, err := version(ctx, db)
	if err != nil {
		return fmt.Errorf("revert database %s: %w", path, err)
	}
	undo, err := sqlstore.Reverting(have, to)
	if err != nil {
		return fmt.Errorf("revert database %s: %w", path, err)
	}
	for _, m := range undo {
		if err := inTransaction(ctx, db, m.Down, `DELETE FROM schema_version WHERE version = ?`, m.Version); err != nil {
			return fmt.Errorf("undo migration %s: %w", m.Name, err)
		}
	}
	return nil
}

// inTransaction runs the texts of a migration with the statement that keeps account of it.
func inTransaction(ctx context.Context, db *sql.DB, texts, account string, args ...any) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after Commit
	if _, err := tx.ExecContext(ctx, texts); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, account, args...); err != nil {
		return err
	}
	return tx.Commit()
}
