package sqlstore

import (
	"testing"
	"testing/fstest"
)

func TestMigrationsAreNumbered(t *testing.T) {
	if all, err := Migrations(); err != nil || len(all) == 0 {
		t.Errorf("ours: %v, %v", all, err)
	}
	for _, names := range [][]string{{"0002_a"}, {"0001_a", "0001_b"}, {"0001_a", "0003_b"}, {"first"}} {
		dir := fstest.MapFS{}
		for _, name := range names {
			dir["migrations/"+name+".sql"] = &fstest.MapFile{}
			dir["migrations/"+name+".down.sql"] = &fstest.MapFile{}
		}
		if all, err := readMigrations(dir); err == nil {
			t.Errorf("%v: %v, want an error", names, all)
		}
	}
	oneWay := fstest.MapFS{"migrations/0001_a.sql": &fstest.MapFile{}}
	if all, err := readMigrations(oneWay); err == nil {
		t.Errorf("a migration that nothing undoes: %v, want an error", all)
	}
}

func TestForPostgres(t *testing.T) {
	for text, want := range map[string]string{
		"CREATE TABLE t (\n    a TEXT NOT NULL, n INTEGER,\n    PRIMARY KEY (a)\n) STRICT, WITHOUT ROWID;": "CREATE TABLE t (\n    a TEXT COLLATE \"C\" NOT NULL, n BIGINT,\n    PRIMARY KEY (a)\n);",
		"CREATE TABLE t (a TEXT) STRICT;":            `CREATE TABLE t (a TEXT COLLATE "C");`,
		"SELECT a FROM t WHERE org = ?1 AND n > ?12": "SELECT a FROM t WHERE org = $1 AND n > $12",
	} {
		if got := ForPostgres(text); got != want {
			t.Errorf("ForPostgres(%q) = %q, want %q", text, got, want)
		}
	}
}
