package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// Integrity has SQLite itself look at a database file, and returns what it finds wrong
// with its pages and indexes. A server may have it open. The error is a file that is not
// there or cannot be read.
func Integrity(ctx context.Context, path string) (wrong []string, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("check database: %w", err)
	}
	dsn, err := dataSource(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = damaged(path, err) }()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("check database %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check")
	if err != nil {
		return nil, fmt.Errorf("check database %s: %w", path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("check database %s: %w", path, err)
		}
		if line != "ok" {
			wrong = append(wrong, line)
		}
	}
	return wrong, rows.Err()
}
