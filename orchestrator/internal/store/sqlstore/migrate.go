package sqlstore

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// migrations are numbered from 0001 without holes. One that was released is never
// changed: add another.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migration is one step of the schema, in the SQL of SQLite.
type Migration struct {
	Version int
	Name    string
	Up      string
	Down    string
}

// Migrations are all that this program knows, in order.
func Migrations() ([]Migration, error) { return readMigrations(migrations) }

const downSuffix = ".down.sql"

func readMigrations(dir fs.FS) ([]Migration, error) {
	names, err := fs.Glob(dir, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, name := range names {
		if strings.HasSuffix(name, downSuffix) {
			continue
		}
		m := Migration{Version: len(all) + 1, Name: strings.TrimPrefix(name, "migrations/")}
		number, _, _ := strings.Cut(m.Name, "_")
		if version, err := strconv.Atoi(number); err != nil || version != m.Version {
			return nil, fmt.Errorf("migration %s: must begin with %04d_", m.Name, m.Version)
		}
		up, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		down, err := fs.ReadFile(dir, strings.TrimSuffix(name, ".sql")+downSuffix)
		if err != nil {
			return nil, fmt.Errorf("migration %s has nothing that undoes it: %w", m.Name, err)
		}
		m.Up, m.Down = string(up), string(down)
		all = append(all, m)
	}
	return all, nil
}

// Pending are the migrations that a schema of a version still needs.
func Pending(have int) ([]Migration, error) {
	all, err := Migrations()
	if err != nil {
		return nil, err
	}
	if have > len(all) {
		return nil, fmt.Errorf("its schema has version %d and this program knows %d: a newer stavily has written it; run that one, or restore a backup from before the upgrade", have, len(all))
	}
	return all[have:], nil
}

// Reverting are the migrations to undo, in that order, to take a schema of a version back to
// an earlier one.
func Reverting(have, to int) ([]Migration, error) {
	if _, err := Pending(have); err != nil {
		return nil, err
	}
	if to < 0 || to > have {
		return nil, fmt.Errorf("its schema has version %d and cannot be taken back to %d", have, to)
	}
	all, err := Migrations()
	if err != nil {
		return nil, err
	}
	undo := all[to:have]
	slices.Reverse(undo)
	return undo, nil
}

var (
	sqliteOptions = regexp.MustCompile(`(?m)\)\s*(STRICT|WITHOUT ROWID)(,\s*(STRICT|WITHOUT ROWID))?;`)
	integerType   = regexp.MustCompile(`\bINTEGER\b`)
	textType      = regexp.MustCompile(`\bTEXT\b`)
	parameter     = regexp.MustCompile(`\?(\d+)`)
)

// ForPostgres turns a text of this package into PostgreSQL's dialect. Text sorts by its
// bytes there too, whatever the collation of the database.
func ForPostgres(text string) string {
	text = sqliteOptions.ReplaceAllString(text, ");")
	text = integerType.ReplaceAllString(text, "BIGINT")
	text = textType.ReplaceAllString(text, `TEXT COLLATE "C"`)
	return parameter.ReplaceAllString(text, "$$$1")
}
