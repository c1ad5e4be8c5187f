package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/depot"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/postgres"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// OpenStore opens the database that the options name.
func OpenStore(ctx context.Context, o Options) (store.Store, error) {
	return openStore(ctx, o, sqlstore.Watch{})
}

func openStore(ctx context.Context, o Options, watch sqlstore.Watch) (store.Store, error) {
	if o.Database == "" {
		return sqlite.OpenWatched(ctx, filepath.Join(o.DataDir, DatabaseName), watch)
	}
	return postgres.OpenWatched(ctx, o.Database, watch)
}

// belongings are what servers of one database have in common besides it.
type belongings struct {
	authority *ca.Authority
	tokens    *ca.Tokens // nil: agents come with certificates
	packages  *depot.Depot
}

// openBelongings opens them and makes what is not there; of several servers that start at a
// time one does so first.
func openBelongings(ctx context.Context, st store.Store, o Options, hosts []string) (b belongings, err error) {
	if shared, ok := st.(store.Shared); ok {
		unlock, err := shared.Lock(ctx, "start")
		if err != nil {
			return b, err
		}
		defer unlock()
	}
	dir := cmp.Or(o.SharedDir, o.DataDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return b, fmt.Errorf("shared directory: %w", err)
	}
	b.authority, err = ca.Open(filepath.Join(dir, "ca"), ca.Options{TrustDomain: o.TrustDomain, Hosts: hosts, Lifetime: o.Lifetime})
	if err != nil {
		return b, err
	}
	if o.AllowJWT {
		if b.tokens, err = ca.OpenTokens(filepath.Join(dir, "ca"), b.authority); err != nil {
			return b, err
		}
	}
	b.packages, err = depot.Open(filepath.Join(dir, "packages"))
	return b, errors.Join(err, vouch(ctx, st, b.authority))
}

// vouch refuses a CA that the servers before this one did not have: with it this server
// would know none of the agents.
func vouch(ctx context.Context, st store.Store, authority *ca.Authority) error {
	shared, ok := st.(store.Shared)
	if !ok {
		return nil
	}
	had, err := shared.Remember(ctx, "ca", authority.Lineage())
	if err == nil && had != authority.Lineage() {
		err = fmt.Errorf("the servers of this database have the certificate authority %s and this one has %s: give all of them the same --shared-dir, or a copy of its directory ca", had, authority.Lineage())
	}
	return err
}

// caLook is how often a server looks at what another one that shares the directory has made
// of the CA.
const caLook = time.Second

// followCA takes up the steps of a rotation that other servers took.
func followCA(ctx context.Context, authority *ca.Authority, log *slog.Logger) error {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(caLook):
		}
		changed, err := authority.Refresh()
		switch {
		case err != nil && told != err.Error():
			log.ErrorContext(ctx, "the certificate authority changed and is not taken up", "error", err)
			told = err.Error()
		case changed:
			log.InfoContext(ctx, "another server took a step of the rotation of the certificate authority", "next", authority.NextStep(), "active", authority.Fingerprint())
			told = ""
		}
	}
}
