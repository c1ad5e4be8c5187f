package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

//go:embed plugins
var benchPlugins embed.FS

// bench is what a measurement works with: a fresh cluster in a directory.
type bench struct {
	bin    string
	python string
	env    []string // of every process
	scale

	*cluster.Cluster
	dir string
}

func (b bench) inCluster(ctx context.Context, measure func(context.Context, *bench) ([]Figure, error)) (_ []Figure, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "stavily-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var log cluster.LastLines
	c := cluster.New(cluster.Options{Dir: dir, Bin: b.bin, Log: log.Add, Env: append(b.env, "STAVILY_PLUGINS_PYTHON_INTERPRETER="+b.python)})
	defer func() {
		if err = errors.Join(err, c.Close()); err != nil {
			err = fmt.Errorf("%w\n%s", err, log.String())
		}
	}()
	if err := c.StartServer(ctx); err != nil {
		return nil, err
	}
	b.Cluster, b.dir = c, dir
	return measure(ctx, &b)
}

// add enrols an agent and gives it one of the benchmark's plugins.
func (b *bench) add(ctx context.Context, id api.AgentID, typ api.AgentType, plugin string) (*cluster.Agent, error) {
	a, err := b.AddAgent(ctx, id, typ)
	if err != nil {
		return nil, err
	}
	tree, err := fs.Sub(benchPlugins, "plugins/"+plugin)
	if err != nil {
		return nil, err
	}
	return a, os.CopyFS(filepath.Join(a.Base, "data", "plugins", plugin), tree)
}
