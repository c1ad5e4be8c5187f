package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/pgtest"
)

// database is a PostgreSQL of the world's own. Nil is none: the server has SQLite.
type database struct {
	*pgtest.Cluster
	place *place
	url   string
}

// place stands for the test that pgtest is made for: it has a directory, an end, and
// failures that are panics of the type failure.
type place struct {
	testing.TB // what pgtest does not use is not there
	ctx        context.Context
	dir        string
	cleanups   []func()
}

type failure struct{ error }

func (p *place) Helper()                           {}
func (p *place) Context() context.Context          { return p.ctx }
func (p *place) Cleanup(f func())                  { p.cleanups = append(p.cleanups, f) }
func (p *place) Fatal(args ...any)                 { panic(failure{fmt.Errorf("%s", fmt.Sprint(args...))}) }
func (p *place) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }
func (p *place) Skip(args ...any)                  { p.Fatal(args...) }
func (p *place) Error(args ...any)                 { fmt.Fprintln(os.Stderr, args...) }
func (p *place) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (p *place) TempDir() string {
	dir, err := os.MkdirTemp(p.dir, "database-")
	if err != nil {
		p.Fatal(err)
	}
	return dir
}

// caught makes an error of what pgtest gives up for.
func caught(err *error) {
	if f, ours := recover().(failure); ours {
		*err = f.error
	}
}

func startDatabase(ctx context.Context, dir string) (d *database, err error) {
	defer caught(&err)
	p := &place{ctx: ctx, dir: dir}
	d = &database{Cluster: pgtest.Start(p), place: p}
	d.url = d.NewDatabase(p)
	return d, nil
}

func (d *database) close() {
	for _, f := range slices.Backward(d.place.cleanups) {
		f()
	}
}

// disconnect ends all connections at once.
func (d *database) disconnect() (err error) {
	defer caught(&err)
	d.Terminate(d.place)
	return nil
}

// crash ends the database without a checkpoint.
func (d *database) crash() (err error) {
	defer caught(&err)
	d.Crash(d.place)
	return nil
}

func (d *database) resume() (err error) {
	defer caught(&err)
	d.Resume(d.place)
	return nil
}

// secondServer is a second one on the same database; what is of no server is of the first.
const secondServer = "second"

// addServer prepares a second server in a directory of its own.
func (w *world) addServer(ctx context.Context, args []string) error {
	dir := filepath.Join(w.dir, secondServer)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	w.second = cluster.New(cluster.Options{Dir: dir, Bin: w.bin, Args: args, Env: w.environment(), Log: func(_, line string) { w.printed.Add(secondServer, line) }})
	w.operators.sockets = append(w.operators.sockets, filepath.Join(w.second.DataDir(), socketName))
	return w.second.StartServer(ctx)
}
