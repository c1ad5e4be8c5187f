package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/retention"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// minLease lets an agent, which renews a lease each third of it, miss one second of three.
const minLease = 3 * time.Second

// defaultSlowQuery is far from what a statement takes on a disk that is well, below a millisecond.
const defaultSlowQuery = 250 * time.Millisecond

func serverCommand(o *options) *cobra.Command {
	var so server.Options
	var level, format string
	var db database
	c := &cobra.Command{
		Use:   "server",
		Short: "Run the orchestrator",
		Long: `Run the orchestrator: the agents' API over mutual TLS, the workflow engine, the
certificate authority and the operator socket.

The data directory is made at the first start, with a new certificate authority.
Only one server runs on a directory at a time; several may use one database of
PostgreSQL, each with a --data-dir of its own and all with one --shared-dir. SIGTERM and SIGINT stop it after
the requests in flight, with exit code 0.`,
		Example: `  stavily server
  stavily server --listen :8443 --hostname orchestrator.example.com --hostname 10.0.0.5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), level, format)
			if err != nil {
				return usageError{err}
			}
			so.DataDir, so.Logger = o.dataDir, log
			if so.Database, err = db.resolve(); err != nil {
				return err
			}
			so.FirstAdmin = func(link string) {
				fmt.Fprintf(cmd.OutOrStdout(), "\nThere is no admin yet. Open this link once, within %s, to become it:\n\n  %s\n\n", account.InvitationLife, link)
			}
			if so.Collector == "" {
				so.Collector = os.Getenv(trace.EnvEndpoint)
			}
			if err := checkServer(so); err != nil {
				return usageError{err}
			}
			if so.CollectorHeaders, err = trace.ParseHeaders(os.Getenv(trace.EnvHeaders)); err != nil {
				return usageError{fmt.Errorf("%s: %w", trace.EnvHeaders, err)}
			}
			return server.Run(cmd.Context(), so)
		},
	}
	f := c.Flags()
	db.register(f)
	f.StringVar(&so.SharedDir, "shared-dir", "", "`directory` of the certificate authority and the packages, the same for all servers of one database (default: the data directory)")
	f.StringVar(&so.Listen, "listen", ":8443", "`address` that agents connect to")
	f.StringArrayVar(&so.Hostnames, "hostname", nil, "`name` or IP address that agents reach this server by; the first is shown in enrolment commands (default: this host's name and localhost)")
	f.StringVar(&so.TrustDomain, "trust-domain", "", "trust domain of a CA that is made at this start (default \"stavily\")")
	f.StringVar(&so.AcceptCA, "accept-ca", "", "`fingerprint` of a CA to start with though no agent of the database was enrolled under it: the former one is lost, and every agent is enrolled again")
	f.StringVar(&so.WebListen, "web-listen", "127.0.0.1:8444", "`address` of the dashboard and the API for people and programs, over HTTPS; \"\": none")
	f.StringVar(&so.WebCertificate, "web-certificate", "", "`file` of the certificate, with its chain, that browsers see (default: one of the own authority)")
	f.StringVar(&so.WebKey, "web-key", "", "`file` of the key of --web-certificate")
	openIDFlags(f, &so)
	f.StringVar(&so.MetricsListen, "metrics-listen", "", "`address` that Prometheus scrapes, for example 127.0.0.1:9464; there is no login (default: none)")
	f.StringVar(&so.Collector, "otlp-endpoint", "", "`URL` of an OpenTelemetry collector that spans go to, for example http://127.0.0.1:4318 (default: "+trace.EnvEndpoint+"; tracing is off without)")
	f.StringVar(&so.Sampler, "trace-sampler", trace.AlwaysOn, "which traces that begin here are recorded: always_on, always_off or traceidratio:0.1")
	f.DurationVar(&so.Lifetime, "certificate-lifetime", ca.DefaultLifetime, fmt.Sprintf("how long certificates of agents and server are good for, %s to %s; agents renew them at two thirds", ca.MinLifetime, ca.MaxLifetime))
	f.DurationVar(&so.RenewalGrace, "renewal-grace", 0, fmt.Sprintf("how long after its end an agent can still renew its certificate, at most %s; it does nothing then until an admin approves it (stavily agents approve); 0: it must be enrolled again", ca.MaxLifetime))
	f.DurationVar(&so.Lease, "lease", time.Minute, fmt.Sprintf("how long an agent may say nothing about an instruction that it was given, at least %s; then it is given to another where it has not begun, and told as interrupted where it has", minLease))
	keepFlags(f, &so)
	f.BoolVar(&so.AllowJWT, "allow-jwt", false, "let agents come with a signed token instead of a certificate, for networks that break mutual TLS; less safe")
	f.BoolVar(&so.GiveKeys, "allow-key-download", false, "let tokens made for an --agent-id download a private key that this server makes, once each; less safe than enroll, where it is made on the agent")
	f.StringVar(&so.SecretsKeyFile, "secrets-key-file", "", "`file` with the keys that secrets are sealed with, made at the first start; best kept elsewhere than the data (default: secrets.key in the data directory)")
	f.StringVar(&so.SecretsKeyCommand, "secrets-key-command", "", "`program` that prints those keys instead, base64 of 32 bytes, one a line, the current one first; it and its arguments are divided by spaces")
	f.DurationVar(&so.SlowQuery, "slow-query", defaultSlowQuery, "a statement of the database that takes `longer` is written to the log, with its text, time and rows and never a value; 0: none is")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	return c
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", level)
	}
	ho := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, ho)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, ho)), nil
	}
	return nil, fmt.Errorf("--log-format %q: must be text or json", format)
}

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  stavily version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := map[string]string{"version": api.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "stavily %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			return err
		},
	}
}

// openIDFlags say who vouches for users.
func openIDFlags(f *pflag.FlagSet, so *server.Options) {
	f.StringVar(&so.OpenID.Issuer, "oidc-issuer", "", "`URL` of an OpenID provider that users can log in with (default: none)")
	f.StringVar(&so.OpenID.ClientID, "oidc-client-id", "", "`id` of this server at the provider")
	f.StringVar(&so.OpenID.SecretFile, "oidc-client-secret-file", "", "`file` with this server's secret at the provider")
	f.StringVar(&so.OpenID.CAFile, "oidc-ca-file", "", "`file` with the CA of the provider's certificate, PEM (default: those of the system)")
}

// keepFlags say how long records are kept.
func keepFlags(f *pflag.FlagSet, so *server.Options) {
	so.Keep = retention.Options{Events: retention.DefaultEvents, Runs: retention.DefaultRuns, Logs: retention.DefaultLogs, Audit: retention.DefaultAudit}
	f.Var((*days)(&so.Keep.Events), "keep-events", "how long events are kept with what workflows made of them; 0: for ever")
	least := days(retention.LeastRuns)
	f.Var((*days)(&so.Keep.Runs), "keep-runs", fmt.Sprintf("how long runs are kept after their end, at least %s; 0: for ever", &least))
	f.Var((*days)(&so.Keep.Logs), "keep-logs", "how long lines are kept that plugins wrote; 0: for ever")
	f.Var((*days)(&so.Keep.Audit), "keep-audit", "how long audit records are kept; 0: for ever")
	so.KeepFree = engine.DefaultKeepFree
	f.Var((*mebibytes)(&so.KeepFree), "keep-free", "`MiB` of the disk of SQLite, at most a sixteenth of it, that are kept for results and audit records: with less free, events, lines of logs, webhooks and packages are answered 503, and agents keep theirs; 0: none")
	f.StringVar(&so.ArchiveDir, "archive-dir", "", "`directory` for what is removed, as compressed files that you may move away; \"none\": it is removed without (default: archive beside the packages)")
}
