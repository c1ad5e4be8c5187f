package config

import (
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// Config is everything that can be set for one agent.
type Config struct {
	Agent    Agent    `yaml:"agent"`    // who this agent is and where it keeps its things
	API      API      `yaml:"api"`      // how the orchestrator is reached
	Logging  Logging  `yaml:"logging"`  // what is logged, how, and how much of it is kept
	Security Security `yaml:"security"` // what protects the connection, and the host from its plugins
	Plugins  Plugins  `yaml:"plugins"`  // where plugins are and what every one of them may take at most; neither a manifest nor the orchestrator can widen these
	Spool    Spool    `yaml:"spool"`    // what waits on disk while the orchestrator is away
	Health   Health   `yaml:"health"`   // the endpoint that service managers and containers probe
	Metrics  Metrics  `yaml:"metrics"`  // the endpoint that Prometheus scrapes
	Tracing  Tracing  `yaml:"tracing"`  // what happened to one event, for an OpenTelemetry collector
}

// Agent says who this agent is and where it keeps its things. ID and
// OrganizationID stand first: the values after them may name them.
type Agent struct {
	ID             api.AgentID   `yaml:"id"`              // this agent's name in everything: 1 to 63 of a-z, 0-9, ".", "_", "-", beginning with a letter or digit
	OrganizationID api.OrgID     `yaml:"organization_id"` // the organisation; the certificate says it, and this must agree with it; empty: as the certificate says
	Name           string        `yaml:"name"`            // its name for people; the id when empty
	Type           api.AgentType `yaml:"type"`            // sensor or action, as the binary is; another one is refused
	BaseDir        string        `yaml:"base_dir"`        // where this agent keeps everything; a relative one is below the working directory
	Environment    string        `yaml:"environment"`     // a word for plugins and people, for example production
	Tags           []string      `yaml:"tags"`            // texts without a comma, usually key:value; workflows can send work to agents by tag

	HeartbeatInterval         Duration `yaml:"heartbeat_interval"`          // in which the orchestrator is told what is new; what is known it is told as often as it asks for; at least 1s
	RegistrationRetryInterval Duration `yaml:"registration_retry_interval"` // between looks for a certificate, and tries to be known, of an agent that has none; at least 1s
}

const (
	defaultHeartbeat         = 30 * time.Second
	defaultRegistrationRetry = 60 * time.Second
	// minInterval keeps a slip of the unit (30ms for 30s) from flooding the server.
	minInterval = time.Second
)

// API says how the orchestrator is reached.
type API struct {
	BaseURL       string    `yaml:"base_url"`       // the orchestrator: https://host[:port], without a path, user or password
	Timeout       Duration  `yaml:"timeout"`        // of one call, beyond the time that a poll asks the orchestrator to wait
	PollWait      Duration  `yaml:"poll_wait"`      // how long the orchestrator holds a poll that has no work, half of health.ready_contact at most; at most 5m, of which Stavily's takes 4m50s
	MaxConcurrent int       `yaml:"max_concurrent"` // instructions that an action agent runs at the same time, 1 to 64; each may take plugins.max_memory
	Retry         Retry     `yaml:"retry"`          // how a call that failed is repeated
	Auth          Auth      `yaml:"auth"`           // how this agent proves who it is
	RateLimit     RateLimit `yaml:"rate_limit"`     // bounds the calls of this agent; heartbeats are exempt, results never wait, and others for them, and events travel in batches, so a storm of them is not slowed
}

const (
	defaultTimeout = 30 * time.Second
	// defaultPollWait is what the orchestrator holds a poll for at most: ten thousand agents that
	// ask every minute would cost it several times as much. The connection is never silent
	// for so long, since HTTP/2 is pinged; maxPollWait is for orchestrators of others.
	defaultPollWait      = 290 * time.Second
	maxPollWait          = 5 * time.Minute
	defaultMaxConcurrent = 4
	maxMaxConcurrent     = 64 // each may take plugins.max_memory
)

// PollWait is how long the orchestrator is asked to hold a poll: an agent that is not ready
// without an answer for a time has to be answered within it.
func (c *Config) PollWait() time.Duration {
	if c.Health.ReadyContact == 0 {
		return c.API.PollWait.Duration()
	}
	return min(c.API.PollWait, c.Health.ReadyContact/2).Duration()
}

// Retry says how a call that failed is repeated. Events and results are repeated
// for ever; MaxAttempts bounds the calls that somebody waits for.
type Retry struct {
	MaxAttempts     int      `yaml:"max_attempts"`     // of calls that somebody waits for, at least 1; events and results are repeated for ever
	Backoff         string   `yaml:"backoff"`          // exponential, with a random part so that a fleet does not come back in step; there is no other
	InitialInterval Duration `yaml:"initial_interval"` // the longest first wait; it doubles with each attempt
	MaxInterval     Duration `yaml:"max_interval"`     // the longest wait of all
}

const (
	// Exponential doubles the longest wait at each attempt and takes a random part
	// of it, so that a fleet does not come back in step.
	Exponential = "exponential"

	defaultMaxAttempts     = 3
	defaultInitialInterval = time.Second
	defaultMaxInterval     = 60 * time.Second
)

// RateLimit bounds the calls of this agent. Heartbeats are exempt, results do not wait for it, but
// count, and events travel in batches, so a storm of them is not slowed by it.
type RateLimit struct {
	RequestsPerSecond float64 `yaml:"requests_per_second"` // in the long run, more than 0 and at most 1000
	Burst             int     `yaml:"burst"`               // that may go at once after a pause, at least 1
}

const (
	defaultRequestsPerSecond = 10
	defaultBurst             = 20
	maxRequestsPerSecond     = 1000 // far beyond what one agent has to say; keeps infinity out
)

// Logging says what is logged, how, and how much of it is kept.
type Logging struct {
	Level      string `yaml:"level"`       // least that is logged: debug, info, warn or error
	Format     string `yaml:"format"`      // json or text
	Output     string `yaml:"output"`      // both, file or stdout: service managers and containers read standard output
	File       string `yaml:"file"`        // where it is written
	MaxSize    int    `yaml:"max_size"`    // MiB of the file, at least 1; then it is rotated
	MaxBackups int    `yaml:"max_backups"` // rotated files kept; 0 keeps all
	MaxAge     int    `yaml:"max_age"`     // days that rotated files are kept; 0 keeps them for ever
	Compress   bool   `yaml:"compress"`    // whether rotated files are compressed, with gzip
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
	TLS       TLS       `yaml:"tls"`       // how the connection is encrypted; that it is, and that both sides show a certificate, cannot be configured away
	Sandbox   Sandbox   `yaml:"sandbox"`   // what confines plugins, and the most that any of them may reach; a plugin's own file can say otherwise for that plugin, a manifest and the orchestrator cannot; the agent's own directory is out of reach whatever stands here
	Integrity Integrity `yaml:"integrity"` // whether changes of the files that the agent runs are looked for
	Audit     Audit     `yaml:"audit"`     // the record of what the agent was told, did and refused
}

// Plugins says where plugins are and what every one of them may take at most.
// Neither a manifest nor the orchestrator can widen these.
type Plugins struct {
	Dir         string         `yaml:"dir"`             // where plugins are installed
	ConfigDir   string         `yaml:"config_dir"`      // one file for each plugin that runs, see the last section
	MaxMemory   Size           `yaml:"max_memory"`      // of one run, all its processes together; at least 16MB
	TotalMemory Size           `yaml:"total_memory"`    // of all that run at the same time, each counted by its limit: who finds no room waits; at least max_memory, 0: no bound
	Timeout     Duration       `yaml:"timeout"`         // of one run; what runs longer is ended
	Allowed     []api.PluginID `yaml:"allowed_plugins"` // the only plugins that may run; empty: every installed one
	Blocked     []api.PluginID `yaml:"blocked_plugins"` // plugins that never run; wins over allowed_plugins
	Pins        Pins           `yaml:"pins"`            // the only version of a plugin that may be used: PLUGIN: sha256:…, as `plugins show` prints it
	Python      Python         `yaml:"python"`          // what runs Python plugins, and where the packages come from that they require
	Warm        Warm           `yaml:"warm"`            // bounds the processes that runs of actions and outputs are forked from

	// Whose packages are taken: keys as lines of authorized_keys (ssh-ed25519 AAAA… name), or files of such lines.
	TrustedKeys []string `yaml:"trusted_keys"`
	// Repositories that instructions may have plugins installed from: each allows itself
	// and what is below it. Nothing is allowed by default.
	Sources        []string `yaml:"sources"`
	AutoUpdate     bool     `yaml:"auto_update"`     // whether signed packages that the orchestrator assigns are installed, as they are assigned
	UpdateInterval Duration `yaml:"update_interval"` // how often what did not install is tried again; at least 10s
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
	Max  int      `yaml:"max"`  // processes at the same time, 10 to 20 MB each, at most 256; 0: each run starts anew
	Idle Duration `yaml:"idle"` // how long one that no run is forked from is kept; at least 1s
	Age  Duration `yaml:"age"`  // how long one is kept at all, which bounds a slow leak; at least 1s
	Runs int      `yaml:"runs"` // how many runs are forked from one; at least 1
}

// Spool bounds what waits on disk while the orchestrator is away.
type Spool struct {
	MaxBytes Size `yaml:"max_bytes"` // events on disk; a tenth is kept for critical ones; at least 4MiB
}

const (
	defaultSpool = 256 * Mebibyte
	// minSpool holds a few events of the largest size (64 KiB) in the tenth that is
	// kept for critical ones.
	minSpool = 4 * Mebibyte
)

// Health is the endpoint that service managers probe.
type Health struct {
	Enabled      bool     `yaml:"enabled"`       // whether it is served
	Bind         string   `yaml:"bind"`          // an IP address; only callers on this host see details
	Port         int      `yaml:"port"`          // 0 takes any free one
	Path         string   `yaml:"path"`          // answers 200 while the agent is alive and its loops move, connected or not
	ReadyPath    string   `yaml:"ready_path"`    // answers 200 when the agent is enrolled and at work, else 503 with the reason
	StatusPath   string   `yaml:"status_path"`   // answers callers on this host with all that the agent knows of itself
	ReadyContact Duration `yaml:"ready_contact"` // not ready when the orchestrator has not answered for so long; 0: an outage of it makes nobody unready (F21)
}

// Metrics is the endpoint that Prometheus scrapes.
type Metrics struct {
	Enabled   bool   `yaml:"enabled"`   // whether it is served
	Bind      string `yaml:"bind"`      // an IP address
	Port      int    `yaml:"port"`      // 0 takes any free one
	Path      string `yaml:"path"`      // in the format of Prometheus
	Namespace string `yaml:"namespace"` // what our metrics' names begin with
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
	defaultStatusPath  = "/status"
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
			Auth:      Auth{Type: Certificate, RefreshThreshold: Duration(defaultRefreshThreshold)},
			RateLimit: RateLimit{RequestsPerSecond: defaultRequestsPerSecond, Burst: defaultBurst},
		},
		Logging: Logging{
			Level: defaultLevel, Format: defaultFormat, Output: defaultOutput,
			MaxSize: defaultMaxSize, MaxBackups: defaultMaxBackups, MaxAge: defaultMaxAge, Compress: true,
		},
		Security: Security{TLS: TLS{Enabled: true, MinVersion: defaultMinVersion}, Sandbox: defaultSandbox(), Audit: Audit{Enabled: true},
			Integrity: Integrity{Enabled: true, Interval: Duration(defaultIntegrityInterval)}},
		Plugins: Plugins{
			MaxMemory: defaultMaxMemory, Timeout: Duration(defaultRunLimit),
			Pins:   Pins{},
			Python: Python{Interpreter: defaultInterpreter},
			Warm:   Warm{Max: defaultWarm, Idle: Duration(defaultWarmIdle), Age: Duration(defaultWarmAge), Runs: defaultWarmRuns},

			AutoUpdate: true, UpdateInterval: Duration(defaultUpdateInterval),
		},
		Spool:   Spool{MaxBytes: defaultSpool},
		Health:  Health{Enabled: true, Bind: defaultHealthBind, Port: healthPort, Path: defaultHealthPath, ReadyPath: defaultReadyPath, StatusPath: defaultStatusPath},
		Metrics: Metrics{Enabled: true, Bind: defaultMetricsBind, Port: metricsPort, Path: defaultMetricsPath, Namespace: defaultNamespace},
		Tracing: Tracing{Exporter: OTLP, Sampler: trace.AlwaysOn, Headers: map[string]Secret{}},
	}
}
