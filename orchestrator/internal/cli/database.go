package cli

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stavily/agents/internal/limits"
)

// envDatabase names the database where neither flag does.
const envDatabase = "STAVILY_DATABASE"

// maxDatabaseFile bounds what is read of a file that has a URL.
const maxDatabaseFile = 64 << 10

// database is where a command is told which PostgreSQL to use.
type database struct{ url, file string }

func (d *database) register(f *pflag.FlagSet) {
	f.StringVar(&d.url, "database", "", "`URL` of a PostgreSQL database, postgres://user@host/name?sslmode=verify-full, without a password (default: SQLite in the data directory)")
	f.StringVar(&d.file, "database-file", "", "`file` that has the URL of the database, which may have a password there (environment: "+envDatabase+" has such a URL)")
}

// resolve is the URL, or "" where there is none. What stands in a command line everybody on
// the machine can read, so that a password there is refused.
func (d *database) resolve() (string, error) {
	if d.url != "" && d.file != "" {
		return "", usageError{errors.New("--database and --database-file: give one of them")}
	}
	if d.file != "" {
		text, err := limits.ReadFile(d.file, maxDatabaseFile)
		if err != nil {
			return "", fmt.Errorf("--database-file: %w", err)
		}
		return checkDatabase("--database-file "+d.file, strings.TrimSpace(string(text)))
	}
	if d.url == "" {
		if text := os.Getenv(envDatabase); text != "" {
			return checkDatabase(envDatabase, text)
		}
		return "", nil
	}
	text, err := checkDatabase("--database", d.url)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", usageError{errors.New("--database: it is no URL")}
	}
	if _, given := u.User.Password(); given || u.Query().Has("password") {
		return "", usageError{errors.New("--database has a password, which everybody on this machine can read in the list of processes: give the URL with --database-file or " + envDatabase + ", or the password in ~/.pgpass")}
	}
	return text, nil
}

// checkDatabase says nothing of the URL itself: it may have a password.
func checkDatabase(where, text string) (string, error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return "", usageError{fmt.Errorf("%s: the URL of a database begins with postgres://", where)}
	}
	return text, nil
}
