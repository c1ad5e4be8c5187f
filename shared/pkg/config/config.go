package config

import (
	"crypto/tls"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Config is everything that can be set for one agent.
type Config struct {
	Agent    Agent    `yaml:"agent"`
	API      API      `yaml:"api"`
	Logging  Logging  `yaml:"logging"`
	Security Security `yaml:"security"`
	Plugins  Plugins  `yaml:"plugins"`
	Spool    Spool    `yaml:"spool"`
	Health   Health   `yaml:"health"`
	Metrics  Metrics  `yaml:"metrics"`
}

// Agent says who this agent is and where it keeps its things. ID and
// OrganizationID stand first: the values after them may name them.
type Agent struct {
	ID             api.AgentID   `yaml:"id"`
	OrganizationID api.OrgID     `yaml:"organization_id"` // empty: as the certificate says
	Name           string        `yaml:"name"`            // for people; the id when empty
	Type           api.AgentType `yaml:"type"`            // must be the binary's
	BaseDir        string        `yaml:"base_dir"`
	Environment    string        `yaml:"environment"` // for example production
	Tags           []string      `yaml:"tags"`        // "key:value"; instructions can be targeted by them

	HeartbeatInterval         Duration `yaml:"heartbeat_interval"`
	RegistrationRetryInterval Duration `yaml:"registration_retry_interval"` // between looks for a certificate
}

const (
	defaultHeartbeat         = 30 * time.Second
	defaultRegistrationRetry = 60 * time.Second
	// minInterval keeps a slip of the unit (30ms for 30s) from flooding the server.
	minInterval = time.Second
)

// API says how the orchestrator is reached.
type API struct {
	BaseURL       string    `yaml:"base_url"`       // https://host[:port]
	Timeout       Duration  `yaml:"timeout"`        // of a call, beyond the time that a poll asks to wait
	PollWait      Duration  `yaml:"poll_wait"`      // how long the server holds a poll that has no work
	MaxConcurrent int       `yaml:"max_concurrent"` // instructions at the same time
	Retry         Retry     `yaml:"retry"`
	Auth          Auth      `yaml:"auth"`
	RateLimit     RateLimit `yaml:"rate_limit"`
}

const (
	defaultTimeout = 30 * time.Second
	// defaultPollWait stays below the 30 to 60 seconds at which proxies and NAT
	// tables cut a silent connection; maxPollWait is where that is sure to happen.
	defaultPollWait      = 20 * time.Second
	maxPollWait          = 5 * time.Minute
	defaultMaxConcurrent = 4
	maxMaxConcurrent     = 64 // each may take plugins.max_memory
)

// Retry says how a call that failed is repeated. Events and results are repeated
// for ever; MaxAttempts bounds the calls that somebody waits for.
type Retry struct {
	MaxAttempts     int      `yaml:"max_attempts"`
	Backoff         string   `yaml:"backoff"` // exponential
	InitialInterval Duration `yaml:"initial_interval"`
	MaxInterval     Duration `yaml:"max_interval"`
}

const (
	// Exponential doubles the longest wait at each attempt and takes a random part
	// of it, so that a fleet does not come back in step.
	Exponential = "exponential"

	defaultMaxAttempts     = 3
	defaultInitialInterval = time.Second
	defaultMaxInterval     = 60 * time.Second
)

// Auth says how this agent proves who it is.
type Auth struct {
	Type     string `yaml:"type"` // certificate
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	CAFile   string `yaml:"ca_file"` // the only authority that the orchestrator may have its certificate from
}

// Certificate is mutual TLS with a certificate of the orchestrator's authority.
const Certificate = "certificate"

// RateLimit bounds the calls of this agent. Heartbeats are exempt, and events
// travel in batches, so a storm of them is not slowed by it.
type RateLimit struct {
	RequestsPerSecond float64 `yaml:"requests_per_second"`
	Burst             int     `yaml:"burst"`
}

const (
	defaultRequestsPerSecond = 10
	defaultBurst             = 20
	maxRequestsPerSecond     = 1000 // far beyond what one agent has to say; keeps infinity out
)

// Logging says what is logged, how, and how much of it is kept.
type Logging struct {
	Level      string `yaml:"level"`  // debug, info, warn or error
	Format     string `yaml:"format"` // json or text
	Output     string `yaml:"output"` // both, file or stdout
	File       string `yaml:"file"`
	MaxSize    int    `yaml:"max_size"`    // MiB, then the file is rotated
	MaxBackups int    `yaml:"max_backups"` // rotated files kept; 0 keeps all
	MaxAge     int    `yaml:"max_age"`     // days; 0 keeps them for ever
	Compress   bool   `yaml:"compress"`    // rotated files, with gzip
}

const (
	defaultLevel  = "info"
	defaultFormat = "json"
	// defaultOutput is both: service managers and containers read standard output,
	// people grep the file (F13).
	defaultOutput     = "both"
	defaultMaxSize    = 100
	defaultMaxBackups = 5
	defaultMaxAge     = 30
)

// Security holds what protects the connection, and the host from its plugins.
type Security struct {
	TLS     TLS     `yaml:"tls"`
	Sandbox Sandbox `yaml:"sandbox"`
}

// TLS is the protocol's lower bound. That TLS is used, and that both sides show a
// certificate, cannot be configured away.
type TLS struct {
	MinVersion string `yaml:"min_version"` // 1.3 or 1.2
}

const defaultMinVersion = "1.3"

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Version is MinVersion as crypto/tls numbers it; TLS 1.3 when it is neither.
func (t TLS) Version() uint16 {
	if v, ok := tlsVersions[t.MinVersion]; ok {
		return v
	}
	return tls.VersionTLS13
}

// Plugins says where plugins are and what every one of them may take at most.
// Neither a manifest nor the orchestrator can widen these.
type Plugins struct {
	Dir       string         `yaml:"dir"`        // installed versions
	ConfigDir string         `yaml:"config_dir"` // one file for each plugin that runs, see PluginFile
	MaxMemory Size           `yaml:"max_memory"` // of one run, all its processes together
	Timeout   Duration       `yaml:"timeout"`    // of one run
	Allowed   []api.PluginID `yaml:"allowed_plugins"`
	Blocked   []api.PluginID `yaml:"blocked_plugins"` // wins over Allowed
	Pins      Pins           `yaml:"pins"`            // the only version of a plugin that may be used
	Python    Python         `yaml:"python"`
	Warm      Warm           `yaml:"warm"`

	// Whose packages are taken: keys as lines of authorized_keys, or files of such lines.
	TrustedKeys []string `yaml:"trusted_keys"`
	// Repositories that instructions may have plugins installed from: each allows itself
	// and what is below it. Nothing is allowed by default.
	Sources        []string `yaml:"sources"`
	AutoUpdate     bool     `yaml:"auto_update"`     // installs what the orchestrator assigns
	UpdateInterval Duration `yaml:"update_interval"` // what did not install is tried again this often
}

const (
	defaultUpdateInterval = time.Hour
	// minUpdateInterval keeps what cannot be installed from being tried all the time.
	minUpdateInterval = 10 * time.Second

	defaultMaxMemory = 256 * Megabyte
	// minMaxMemory is what an interpreter with nothing loaded takes, rounded up: a
	// smaller limit is a slip of the unit that would kill every plugin.
	minMaxMemory    = 16 * Megabyte
	defaultRunLimit = 5 * time.Minute

	// What an agent with many plugins holds in memory: 16 are 150 to 350 MiB.
	defaultWarm = 16
	maxWarm     = 256
	// Five minutes outlast a burst of runs and the pauses within it. An hour, and a
	// thousand runs, bound what a slow leak can do.
	defaultWarmIdle = 5 * time.Minute
	defaultWarmAge  = time.Hour
	defaultWarmRuns = 1000
)

// Allows reports whether the lists let id run: it is not blocked, and it is
// allowed or nothing is said about what is.
func (p Plugins) Allows(id api.PluginID) bool {
	return !slices.Contains(p.Blocked, id) && (len(p.Allowed) == 0 || slices.Contains(p.Allowed, id))
}

// Warm bounds the processes that runs of actions and outputs are forked from.
type Warm struct {
	Max  int      `yaml:"max"`  // at the same time; 0: each run starts anew
	Idle Duration `yaml:"idle"` // without a run
	Age  Duration `yaml:"age"`
	Runs int      `yaml:"runs"` // of one process
}

// Spool bounds what waits on disk while the orchestrator is away.
type Spool struct {
	MaxBytes Size `yaml:"max_bytes"`
}

const (
	defaultSpool = 256 * Mebibyte
	// minSpool holds a few events of the largest size (64 KiB) in the tenth that is
	// kept for critical ones.
	minSpool = 4 * Mebibyte
)

// Health is the endpoint that service managers probe.
type Health struct {
	Enabled   bool   `yaml:"enabled"`
	Bind      string `yaml:"bind"` // an IP address
	Port      int    `yaml:"port"` // 0 takes any free one
	Path      string `yaml:"path"`
	ReadyPath string `yaml:"ready_path"`
}

// Metrics is the endpoint that Prometheus scrapes.
type Metrics struct {
	Enabled   bool   `yaml:"enabled"`
	Bind      string `yaml:"bind"` // an IP address
	Port      int    `yaml:"port"` // 0 takes any free one
	Path      string `yaml:"path"`
	Namespace string `yaml:"namespace"` // of our metrics' names
}

const (
	// A sensor and an action agent on one host do not collide (F18).
	sensorHealthPort, sensorMetricsPort = 8080, 9090
	actionHealthPort, actionMetricsPort = 8081, 9091

	// Probes come from outside (a kubelet, a container runtime) and are told no
	// detail; metrics are for this host unless somebody says otherwise.
	defaultHealthBind  = "0.0.0.0"
	defaultMetricsBind = "127.0.0.1"

	defaultHealthPath  = "/health"
	defaultReadyPath   = "/ready"
	defaultMetricsPath = "/metrics"
	defaultNamespace   = "stavily_agent"
)

// Default is what holds for an agent of type t when nothing is set. It lacks what
// only a person knows (agent.id, api.base_url) and what [Load] derives from that.
func Default(t api.AgentType) Config {
	healthPort, metricsPort := sensorHealthPort, sensorMetricsPort
	if t == api.Action {
		healthPort, metricsPort = actionHealthPort, actionMetricsPort
	}
	return Config{
		Agent: Agent{
			Type:                      t,
			HeartbeatInterval:         Duration(defaultHeartbeat),
			RegistrationRetryInterval: Duration(defaultRegistrationRetry),
		},
		API: API{
			Timeout: Duration(defaultTimeout), PollWait: Duration(defaultPollWait), MaxConcurrent: defaultMaxConcurrent,
			Retry: Retry{
				MaxAttempts: defaultMaxAttempts, Backoff: Exponential,
				InitialInterval: Duration(defaultInitialInterval), MaxInterval: Duration(defaultMaxInterval),
			},
			Auth:      Auth{Type: Certificate},
			RateLimit: RateLimit{RequestsPerSecond: defaultRequestsPerSecond, Burst: defaultBurst},
		},
		Logging: Logging{
			Level: defaultLevel, Format: defaultFormat, Output: defaultOutput,
			MaxSize: defaultMaxSize, MaxBackups: defaultMaxBackups, MaxAge: defaultMaxAge, Compress: true,
		},
		Security: Security{TLS: TLS{MinVersion: defaultMinVersion}, Sandbox: defaultSandbox()},
		Plugins: Plugins{
			MaxMemory: defaultMaxMemory, Timeout: Duration(defaultRunLimit),
			Pins:   Pins{},
			Python: Python{Interpreter: defaultInterpreter},
			Warm:   Warm{Max: defaultWarm, Idle: Duration(defaultWarmIdle), Age: Duration(defaultWarmAge), Runs: defaultWarmRuns},

			AutoUpdate: true, UpdateInterval: Duration(defaultUpdateInterval),
		},
		Spool:   Spool{MaxBytes: defaultSpool},
		Health:  Health{Enabled: true, Bind: defaultHealthBind, Port: healthPort, Path: defaultHealthPath, ReadyPath: defaultReadyPath},
		Metrics: Metrics{Enabled: true, Bind: defaultMetricsBind, Port: metricsPort, Path: defaultMetricsPath, Namespace: defaultNamespace},
	}
}
