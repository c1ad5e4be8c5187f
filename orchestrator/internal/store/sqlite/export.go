package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// Export reads all tables of the database at path, of the newest schema, as they are at one
// time. Each is given to table with its columns and an iterator over its rows.
func Export(ctx context.Context, path string, table func(name string, columns []string, rows sqlstore.Rows) error) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("export database: %w", err)
	}
	s, err := Open(ctx, path) // which also brings its schema up to date
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	defer func() { err = damaged(path, err) }()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("export database %s: %w", path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	names, err := tables(ctx, tx)
	if err != nil {
		return fmt.Errorf("export database %s: %w", path, err)
	}
	for _, name := range names {
		if err := export(ctx, tx, name, table); err != nil {
			return fmt.Errorf("export table %s: %w", name, err)
		}
	}
	return nil
}

func tables(ctx context.Context, tx *sql.Tx) (names []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_version' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func export(ctx context.Context, tx *sql.Tx, name string, table func(string, []string, sqlstore.Rows) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM "`+name+`"`) // of our own schema
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	err = table(name, columns, func() ([]any, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		values := make([]any, len(columns))
		places := make([]any, len(columns))
		for n := range values {
			places[n] = &values[n]
		}
		return values, rows.Scan(places...)
	})
	return errors.Join(err, rows.Err())
}
