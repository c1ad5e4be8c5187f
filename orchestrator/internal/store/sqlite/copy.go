package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Copy writes the database at path, as it is at one time, into a new file. A server may have
// it open: it goes on writing meanwhile, and its log of changes grows until the copy is done.
func Copy(ctx context.Context, path, to string) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := own(to); err != nil { // SQLite takes an empty file, which has our mode
		return fmt.Errorf("copy database: %w", err)
	}
	defer func() { err = damaged(path, err) }()
	db, err := connect(path)
	if err != nil {
		return fmt.Errorf("copy database %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return fmt.Errorf("copy database %s to %s: %w", path, to, err)
	}
	return nil
}
