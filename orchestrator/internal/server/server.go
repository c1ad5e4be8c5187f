package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/internal/processors"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/agentapi"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/handshake"
	"github.com/stavily/agents/orchestrator/internal/openid"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/retention"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// DatabaseName is the name of the SQLite database in the data directory.
const DatabaseName = "stavily.db"

// Options of a server.
type Options struct {
	DataDir          string
	Database         string         // URL of PostgreSQL; empty: SQLite in DataDir
	SharedDir        string         // of the CA and the packages, the same for all servers of a database; empty: DataDir
	Listen           string         // address of the agents' listener, for example ":8443"
	Hostnames        []string       // names and IP addresses of the server; empty: the host's name and the loopback ones
	TrustDomain      string         // see ca.Options
	AcceptCA         string         // fingerprint of a CA that is right though no agent of the database was enrolled under it
	Lifetime         time.Duration  // of certificates, see ca.Options
	RenewalGrace     time.Duration  // how long after its end a certificate can be renewed, into quarantine; 0: it cannot
	WebListen        string         // address of the HTTPS listener for people; empty: none
	WebCertificate   string         // file of its certificate with its chain, PEM; empty: one of the own CA
	WebKey           string         // file of the key of WebCertificate
	Lease            time.Duration  // how long an offer or a silent execution holds; 0: a minute
	OpenID           openid.Options // provider that vouches for users; without an Issuer: none
	MetricsListen    string         // address of the metrics endpoint; empty: none
	Collector        string         // of OpenTelemetry, see trace.Options.Endpoint; empty: tracing is off
	CollectorHeaders map[string]string
	Sampler          string            // see trace.ParseSampler
	AllowJWT         bool              // agents may come with a token instead of a certificate
	GiveKeys         bool              // private keys may be made here and downloaded once
	Keep             retention.Options // how long records are kept, without where and by whom; 0: for ever
	ArchiveDir       string            // of what is removed; empty: ArchiveName beside the packages; NoArchive: none
	KeepFree         int64             // bytes of the disk of SQLite that events leave free, of a small disk at most a sixteenth
	SlowQuery        time.Duration     // a statement of the database that takes longer is told; 0: none is
	Logger           *slog.Logger
	Ready            func(addr net.Addr) // called once all listeners accept; may be nil
	// SecretsKeyFile has the keys that secrets are sealed with; empty: secrets.key in SharedDir.
	// SecretsKeyCommand prints them instead, with its arguments divided by spaces.
	SecretsKeyFile, SecretsKeyCommand string
	// FirstAdmin is told the one-time link of the first admin, where there is none yet and
	// people can connect; may be nil. It is a secret: it belongs before a person, not in a log.
	FirstAdmin func(link string)
}

// Run runs a server until ctx is done, and returns nil then, or until a part of it
// fails. Only one server runs on a data directory; a second one gets an error that
// says so.
func Run(ctx context.Context, o Options) (err error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	unlock, err := lockfile.Lock(filepath.Join(o.DataDir, "server.lock"))
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	defer unlock()
	registry := telemetry.NewRegistry("stavily_server")
	st, err := openStore(ctx, o, watchQueries(o, registry))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	hosts := hostnames(o.Hostnames)
	common, err := openBelongings(ctx, st, o, hosts)
	if err != nil {
		return err
	}
	tracer, err := openTracing(o)
	if err != nil {
		return err
	}
	defer flushTraces(ctx, tracer)
	registry.GaugeVec("build_info", "1, with what the program is.", "version").WithLabelValues(api.Version).Set(1)
	metrics, err := listenMetrics(ctx, o)
	if err != nil {
		return err
	}
	if metrics != nil {
		defer metrics.Close()
	}
	if o.AllowJWT {
		o.Logger.Warn("agents may come with a token instead of a certificate (--allow-jwt): whoever steals a token is that agent, and stays it by refreshing the token, until the agent is revoked")
	}
	vault, err := openVault(ctx, st, o)
	if err != nil {
		return err
	}
	e := engine.New(st, common.authority, engine.Options{Metrics: registry, Vault: vault, Logger: o.Logger, Depot: common.packages, Trace: tracer, Tokens: common.tokens, GiveKeys: o.GiveKeys, LeaseTTL: o.Lease, Disk: diskOf(o), Grace: o.RenewalGrace})
	if err := errors.Join(e.OpenSecrets(ctx), e.SweepPackages(ctx)); err != nil {
		return err
	}
	sweep, err := forget(o, e, registry)
	if err != nil {
		return err
	}
	strangers := handshake.NewWatch(handshake.Options{Metrics: registry, Logger: o.Logger, Record: func(ctx context.Context, listener, detail string) error {
		return e.RecordStrangers(ctx, route.DefaultOrg, listener, detail)
	}})
	l, err := listen(ctx, o, common.authority, strangers)
	if err != nil {
		return err
	}
	defer l.close()
	info := operatorapi.Server{DataDir: o.DataDir,
		BaseURL: baseURL(hosts[0], l.agents.Addr()), WebURL: webURL(hosts[0], l.web), CA: common.authority, Accounts: account.New(e, o.Logger, nil),
	}
	return run(ctx, o, e, info, hosts, l, strangers, tracer.Run, sweep, serveMetrics(o, registry, metrics, e))
}

// diskOf is where SQLite is. The disk of PostgreSQL is on another host, which says so itself.
func diskOf(o Options) (d engine.Disk) {
	if o.Database == "" {
		d.Keep, d.Space = o.KeepFree, func() (free, total int64, err error) { return diskspace.Of(o.DataDir) }
	}
	return d
}

// openVault reads the keys of secrets, and makes the first one.
func openVault(ctx context.Context, st store.Store, o Options) (*secret.Vault, error) {
	if o.SecretsKeyCommand != "" && o.SecretsKeyFile != "" {
		return nil, errors.New("--secrets-key-file and --secrets-key-command: say one of them")
	}
	file := cmp.Or(o.SecretsKeyFile, filepath.Join(cmp.Or(o.SharedDir, o.DataDir), "secrets.key"))
	return secret.Open(secret.Options{
		File:    file,
		Command: strings.Fields(o.SecretsKeyCommand),
		MayMake: func() error { return nothingSealed(ctx, st, file) },
	})
}

// run serves on all listeners until ctx is done or a part fails.
func run(ctx context.Context, o Options, e *engine.Engine, info operatorapi.Server, hosts []string, l listeners, strangers *handshake.Watch, more ...func(context.Context) error) error {
	refused := func(reason, from string) { strangers.Refused(string(route.Agents), reason, from) }
	agentHandler, err := agentapi.Handler(e, o.Logger, refused)
	if err != nil {
		return err
	}
	shared, web, err := people(o, e, info, hosts)
	if err != nil {
		return err
	}
	operatorServer := &http.Server{Handler: shared, ReadHeaderTimeout: 10 * time.Second}
	processors.Ensure()
	tlsConfig := pki.ServerTLS(info.CA.ServerCertificate, info.CA.Pool)
	if o.RenewalGrace > 0 {
		pki.TakeLate(tlsConfig, o.RenewalGrace)
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Run(ctx) })
	group.Go(func() error { return keepReserve(ctx) })
	group.Go(func() error { return followCA(ctx, info.CA, o.Logger) })
	group.Go(func() error { return info.Accounts.Run(ctx) })
	group.Go(func() error { return strangers.Run(ctx) })
	for _, part := range more {
		group.Go(func() error { return part(ctx) })
	}
	group.Go(func() error {
		return serve(ctx, agentapi.Server(agentHandler, o.Logger), agentapi.Listener(ctx, l.agents, tlsConfig, refused))
	})
	group.Go(func() error { return serve(ctx, operatorServer, l.operators) })
	if l.web != nil {
		group.Go(func() error { return serve(ctx, route.WebServer(web, o.Logger), l.web) })
	}
	o.Logger.Info("listening", "address", l.agents.Addr().String(), "base_url", info.BaseURL, "web", info.WebURL)
	o.Logger.Info("certificate authority", "fingerprint", info.CA.Fingerprint(), "not_after", info.CA.NotAfter())
	o.Logger.Info("operator socket", "path", l.operators.Addr().String())
	group.Go(func() error { return inviteFirst(ctx, o, info) })
	if o.Ready != nil {
		o.Ready(l.agents.Addr())
	}
	return group.Wait()
}

// listeners are the open doors of a server.
type listeners struct{ agents, operators, web net.Listener } // web: nil when it is off

func (l listeners) close() {
	for _, one := range []net.Listener{l.agents, l.operators, l.web} {
		if one != nil {
			one.Close()
		}
	}
}

// listen opens all listeners or none.
func listen(ctx context.Context, o Options, authority *ca.Authority, strangers *handshake.Watch) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var lc net.ListenConfig
	if l.agents, err = lc.Listen(ctx, "tcp", o.Listen); err != nil {
		return l, fmt.Errorf("listen for agents: %w; choose another address with --listen", err)
	}
	if l.web, err = listenWeb(ctx, o, authority, strangers); err != nil {
		return l, err
	}
	l.operators, err = listenOperators(ctx, filepath.Join(o.DataDir, operatorapi.SocketName))
	return l, err
}

// listenOperators opens the operator socket. The lock on the data directory says
// that a socket that is there belongs to a server that was killed.
func listenOperators(ctx context.Context, path string) (net.Listener, error) {
	if most := maxSocketPath; len(path) > most {
		return nil, fmt.Errorf("operator socket %s: its path has %d bytes and sockets take %d (unix(7)); use a shorter --data-dir", path, len(path), most)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("operator socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("operator socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("operator socket: %w", err)
	}
	return l, nil
}

// maxSocketPath is sizeof(sockaddr_un.sun_path) without its final zero on the
// systems that have the least (macOS and the BSDs: 104; Linux: 108).
const maxSocketPath = 103

// hostnames returns the names of the server's certificate, first the one to show.
// Loopback always works, so that agents on the same host need no name.
func hostnames(given []string) []string {
	names := slices.Clone(given)
	if len(names) == 0 {
		if h, err := os.Hostname(); err == nil && h != "" {
			names = append(names, h)
		}
	}
	for _, always := range []string{"localhost", "127.0.0.1", "::1"} {
		if !slices.Contains(names, always) {
			names = append(names, always)
		}
	}
	return names
}

// baseURL is what agents are told to connect to.
func baseURL(host string, listens net.Addr) string {
	port := strconv.Itoa(listens.(*net.TCPAddr).Port)
	return "https://" + net.JoinHostPort(host, port)
}
