package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stavily/agents/internal/limits"
)

// Cluster is a running server.
type Cluster struct {
	Port int

	bin       string // where initdb and postgres are
	data      string
	as        *syscall.SysProcAttr // the account of the server
	server    *exec.Cmd
	databases atomic.Int64
}

// startLimit is how long a cluster may take until it answers, also when it recovers.
const startLimit = 60 * time.Second

// Start makes a cluster and runs it until the test has ended.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{bin: programs(tb), data: filepath.Join(tb.TempDir(), "pg")} // not there yet: initdb makes it
	asServer, err := account(filepath.Dir(c.data))
	if err != nil {
		tb.Fatal(err)
	}
	c.as = asServer
	initdb := c.command("initdb", "--pgdata", c.data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	out := limits.NewBuffer(64 << 10)
	initdb.Stdout, initdb.Stderr = out, out
	if err := initdb.Run(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out.Bytes())
	}
	c.Port = freePort(tb)
	c.Resume(tb)
	tb.Cleanup(func() { c.Crash(tb) })
	return c
}

func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.Dir = filepath.Dir(c.data)
	cmd.SysProcAttr = c.as
	return cmd
}

// programs finds the newest PostgreSQL that is installed.
func programs(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // where Debian has it
	if err != nil {
		tb.Fatal(err)
	}
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		tb.Skip("PostgreSQL is not installed: apt-get install postgresql")
	}
	return filepath.Dir(path)
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// URL names a database of the cluster.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.Port, database)
}

// NewDatabase makes an empty database and returns its URL.
func (c *Cluster) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test%d", c.databases.Add(1))
	c.Exec(tb, "CREATE DATABASE "+name)
	return c.URL(name)
}

// NewSchema makes an empty schema and returns a URL with which everything is in there. It
// costs a hundredth of a database; what is notified reaches those in other schemas too.
func (c *Cluster) NewSchema(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test%d", c.databases.Add(1))
	c.Exec(tb, "CREATE SCHEMA "+name)
	return c.URL("postgres") + "&search_path=" + name
}

// Exec runs a statement as the administrator.
func (c *Cluster) Exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	if err := c.try(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func (c *Cluster) try(ctx context.Context, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, args...)
	return err
}

// Terminate ends all connections of clients.
func (c *Cluster) Terminate(tb testing.TB) {
	tb.Helper()
	c.Exec(tb, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
}

// Resume starts the server again after [Cluster.Crash], and returns when it answers.
func (c *Cluster) Resume(tb testing.TB) {
	tb.Helper()
	server := c.command("postgres", "-D", c.data, "-k", c.data, "-p", fmt.Sprint(c.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200", "-c", "logging_collector=off")
	log, err := os.OpenFile(filepath.Join(filepath.Dir(c.data), "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	c.server = server
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		err := c.try(tb.Context(), "SELECT 1")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Crash(tb)
			tb.Fatalf("PostgreSQL does not answer: %v\n%s", err, c.log(tb))
		}
	}
}

// Crash has the server end at once, as after an error of its own: what was committed is
// recovered by [Cluster.Resume].
func (c *Cluster) Crash(tb testing.TB) {
	tb.Helper()
	if c.server == nil {
		return
	}
	if err := abort(c.server.Process); err != nil {
		tb.Errorf("stop PostgreSQL: %v", err)
	}
	_ = c.server.Wait() // it says how it was ended
	c.server = nil
}

func (c *Cluster) log(tb testing.TB) []byte {
	tb.Helper()
	text, err := limits.ReadFile(filepath.Join(filepath.Dir(c.data), "postgres.log"), 1<<20)
	if err != nil {
		tb.Error(err)
	}
	return text
}
