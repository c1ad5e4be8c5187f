package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// migrate brings the schema to the newest version known here.
func migrate(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied TEXT NOT NULL) STRICT`)
	if err != nil {
		return err
	}
	var have int
	if err := db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&have); err != nil {
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
