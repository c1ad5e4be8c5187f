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
	"github.com/stavily/agents/shared/pkg/pki"
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
	authority := filepath.Join(dir, "ca")
	b.authority, err = ca.Open(authority, ca.Options{
		TrustDomain: o.TrustDomain, Hosts: hosts, Lifetime: o.Lifetime,
		MayMake: func() error { return nobodyEnrolled(ctx, st, authority) },
	})
	if err != nil {
		return b, err
	}
	if o.AllowJWT {
		if b.tokens, err = ca.OpenTokens(authority, b.authority); err != nil {
			return b, err
		}
	}
	b.packages, err = depot.Open(filepath.Join(dir, "packages"))
	if err = errors.Join(err, ofAgents(ctx, st, b.authority, o.AcceptCA, authority)); err != nil {
		return b, err // before the database remembers this one
	}
	return b, vouch(ctx, st, b.authority)
}

// ofAgents refuses a CA that signed the certificate of none of the agents that are enrolled: it is that of
// another server, and all of them would be locked out. Of a CA that was revoked only the fingerprint is
// kept: after that certificates of former ones cannot be told from those of others, and nothing is refused.
func ofAgents(ctx context.Context, st store.Store, authority *ca.Authority, accepted, dir string) error {
	if accepted == authority.Fingerprint() || authority.Revoked() {
		return nil
	}
	known := false
	strangers, err := count(ctx, st, func(r store.Reader) (n int, err error) {
		all, err := r.Agents()
		for _, a := range all {
			if known || a.State == store.Revoked {
				continue
			}
			certs, failure := pki.ParseCertificates([]byte(a.CertificatePEM))
			if failure != nil || len(certs) == 0 { // it comes with a token
				continue
			}
			n++
			_, known = authority.Issuer(certs[0])
		}
		return n, err
	})
	if err != nil || strangers == 0 || known {
		return err
	}
	return fmt.Errorf("%s has the certificate authority %s, and all enrolled agents of the database (%d) have certificates of another one, which they trust alone: "+
		"name the directory that has that one with --shared-dir, or restore %s from a backup; where it is lost and every agent is to be enrolled again, start with --accept-ca %s until the first one is",
		dir, authority.Fingerprint(), strangers, dir, authority.Fingerprint())
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

// nobodyEnrolled refuses to make a CA for a database whose agents have one: the directory is
// not the one that it was in, and a new one would lock all of them out.
func nobodyEnrolled(ctx context.Context, st store.Store, dir string) error {
	agents, err := count(ctx, st, func(r store.Reader) (n int, err error) {
		all, err := r.Agents()
		for _, a := range all {
			if a.State != store.Revoked {
				n++
			}
		}
		return n, err
	})
	if err != nil || agents == 0 {
		return err
	}
	err = fmt.Errorf("%s has no certificate authority, and the database has enrolled agents (%d), which trust only the one that there was: "+
		"name the directory that has it with --shared-dir, or restore %s from a backup", dir, agents, dir)
	if _, shared := st.(store.Shared); !shared { // which would refuse another one; see vouch
		err = fmt.Errorf("%w; where it is lost, make the key of a new one, for which every agent must be enrolled again: "+
			"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out %s", err, filepath.Join(dir, ca.FirstKey))
	}
	return err
}

// nothingSealed refuses to make a key for a database that has secrets which it would not open.
func nothingSealed(ctx context.Context, st store.Store, file string) error {
	secrets, err := count(ctx, st, func(r store.Reader) (n int, err error) {
		all, err := r.Secrets()
		for _, s := range all {
			if !s.Deleted {
				n++
			}
		}
		return n, err
	})
	if err != nil || secrets == 0 {
		return err
	}
	return fmt.Errorf("%s is missing, and the database has secrets (%d) that only its keys open: "+
		"restore it from its copy, or name where it is with --secrets-key-file or --shared-dir; where it is lost, make a new one and set every secret again: "+
		"(umask 077; openssl rand -base64 32 > %s)", file, secrets, file)
}

// count adds up what all organisations have of something.
func count(ctx context.Context, st store.Store, of func(store.Reader) (int, error)) (sum int, err error) {
	orgs, err := st.Orgs(ctx)
	for _, org := range orgs {
		err = errors.Join(err, st.Org(org).View(ctx, func(r store.Reader) error {
			n, err := of(r)
			sum += n
			return err
		}))
	}
	return sum, err
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
