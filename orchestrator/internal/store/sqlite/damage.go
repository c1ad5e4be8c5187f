package sqlite

import (
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"
)

// errDamaged is a file whose content is not that of a database, or not of a whole one.
var errDamaged = errors.New("is damaged")

// damaged says what an error of SQLite means that is of the file and not of the statement, and what to do
// about it. Any other error stays as it is.
func damaged(path string, err error) error {
	c := code(err) & 0xff // without what SQLite adds to a code, of where it noticed
	if c != sqlite3.SQLITE_CORRUPT && c != sqlite3.SQLITE_NOTADB || errors.Is(err, errDamaged) {
		return err
	}
	return fmt.Errorf("database %s %w: stop the server, keep a copy of this file with its -wal, and restore a backup with `stavily restore` (docs/operate.md, Back up); "+
		"`stavily fsck` says of what can still be read what is wrong: %w", path, errDamaged, err)
}
