package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The URL of a database comes from one place, and a password never from the command line.
func TestDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "database")
	if err := os.WriteFile(file, []byte("postgres://u:secret@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url, file, env string
		want, err      string
	}{
		{want: ""},
		{url: "postgres://u@h/d", want: "postgres://u@h/d"},
		{url: "postgres://u@h/d", env: "postgres://u:x@other/d", want: "postgres://u@h/d"},
		{file: file, want: "postgres://u:secret@h/d"},
		{env: "postgresql://u:secret@h/d", want: "postgresql://u:secret@h/d"},
		{url: "postgres://u:secret@h/d", err: "list of processes"},
		{url: "postgres://u@h/d?password=secret", err: "list of processes"},
		{url: "postgres://u:secret@h:port/d", err: "it is no URL"},
		{url: "mysql://u@h/d", err: "begins with postgres://"},
		{env: "secret", err: envDatabase},
		{url: "postgres://u@h/d", file: file, err: "one of them"},
		{file: file + ".no", err: "--database-file"},
	} {
		t.Setenv(envDatabase, c.env)
		db := database{url: c.url, file: c.file}
		got, err := db.resolve()
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: the error has the password: %v", c, err)
		}
	}
}
