package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/internal/repository"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// Validate reports everything that is wrong with the values, one [Problem] a line.
func (c *Config) Validate() error { return c.check().err() }

func (c *Config) check() problems {
	var ps problems
	c.checkText(&ps)
	c.Agent.check(&ps)
	c.API.check(&ps)
	c.Logging.check(&ps)
	c.Security.TLS.check(&ps)
	c.Security.Sandbox.check(&ps)
	c.Security.Integrity.check(&ps)
	c.Plugins.check(&ps)
	ps.require(c.Spool.MaxBytes >= minSpool, "spool.max_bytes", c.Spool.MaxBytes, "at least %v", minSpool)
	c.Health.check(&ps)
	c.Metrics.check(&ps)
	c.Tracing.check(&ps)
	return ps
}

// checkText refuses what is not seen when it is printed (control characters, marks
// that turn the direction of writing): every text ends in a log line or a file name.
func (c *Config) checkText(ps *problems) {
	for _, l := range leaves(c) {
		for _, text := range l.texts() {
			s := text.String()
			ps.require(utf8.ValidString(s) && !strings.ContainsFunc(s, invisible), l.key(), s, "printable text in UTF-8")
		}
	}
}

func invisible(r rune) bool { return !unicode.IsGraphic(r) }

func (a *Agent) check(ps *problems) {
	if a.ID == "" {
		ps.add("agent.id", "is missing: set it in the configuration file, as STAVILY_AGENT_ID or with --agent-id")
	} else if err := a.ID.Validate(); err != nil {
		ps.add("agent.id", "%v", err)
	}
	if a.OrganizationID != "" { // the certificate says it otherwise
		if err := a.OrganizationID.Validate(); err != nil {
			ps.add("agent.organization_id", "%v", err)
		}
	}
	if err := a.Type.Validate(); err != nil {
		ps.add("agent.type", "%v", err)
	}
	for _, tag := range a.Tags {
		ps.require(tag != "" && !strings.Contains(tag, ","), "agent.tags", tag, "text without a comma, for example role:web")
	}
	ps.requireInterval("agent.heartbeat_interval", a.HeartbeatInterval)
	ps.requireInterval("agent.registration_retry_interval", a.RegistrationRetryInterval)
}

func (ps *problems) requireInterval(key string, d Duration) {
	ps.require(d >= Duration(minInterval), key, d, "at least %v", minInterval)
}

func (ps *problems) requirePositive(key string, d Duration) {
	ps.require(d > 0, key, d, "positive")
}

func (a *API) check(ps *problems) {
	if a.BaseURL == "" {
		ps.add("api.base_url", "is missing: set it in the configuration file, as STAVILY_API_BASE_URL or with --base-url")
	} else if err := checkURL(a.BaseURL); err != nil {
		ps.add("api.base_url", "%v", err)
	}
	ps.requirePositive("api.timeout", a.Timeout)
	ps.require(a.PollWait > 0 && a.PollWait <= Duration(maxPollWait), "api.poll_wait", a.PollWait, "positive and at most %v", Duration(maxPollWait))
	ps.require(a.MaxConcurrent >= 1 && a.MaxConcurrent <= maxMaxConcurrent, "api.max_concurrent", a.MaxConcurrent, "from 1 to %d", maxMaxConcurrent)
	ps.require(a.Retry.MaxAttempts >= 1, "api.retry.max_attempts", a.Retry.MaxAttempts, "at least 1")
	ps.require(a.Retry.Backoff == Exponential, "api.retry.backoff", a.Retry.Backoff, Exponential)
	ps.requirePositive("api.retry.initial_interval", a.Retry.InitialInterval)
	ps.require(a.Retry.MaxInterval >= a.Retry.InitialInterval, "api.retry.max_interval", a.Retry.MaxInterval,
		"at least api.retry.initial_interval, which is %v", a.Retry.InitialInterval)
	a.Auth.check(ps)
	rate := a.RateLimit.RequestsPerSecond
	ps.require(rate > 0 && rate <= maxRequestsPerSecond, "api.rate_limit.requests_per_second", rate, "positive and at most %d", maxRequestsPerSecond)
	ps.require(a.RateLimit.Burst >= 1, "api.rate_limit.burst", a.RateLimit.Burst, "at least 1")
}

// checkURL says what is wrong with the orchestrator's URL. It repeats the URL only
// where it cannot hold a password.
func checkURL(text string) error {
	const example = "for example https://stavily.example.com:8443"
	if strings.Contains(text, "@") {
		return errors.New("must not hold a user name or password: the agent's certificate says who it is")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q: is not a URL; write %s", text, example)
	case u.Scheme == "http":
		return fmt.Errorf("%q: must begin with https://: agents speak mutual TLS only, because without it anybody on the way could give them instructions", text)
	case u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("%q: must be https:// and a host, %s", text, example)
	case !isPort(u):
		return fmt.Errorf("%q: must have a port from 1 to 65535, %s", text, example)
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#"):
		return fmt.Errorf("%q: must end after the host and port: the agent adds the paths of its API itself", text)
	}
	return nil
}

func isPort(u *url.URL) bool {
	_, err := destination.URLPort(u)
	return err == nil
}

func (l *Logging) check(ps *problems) {
	ps.requireOneOf("logging.level", l.Level, "debug", "info", "warn", "error")
	ps.requireOneOf("logging.format", l.Format, "json", "text")
	ps.requireOneOf("logging.output", l.Output, "both", "file", "stdout")
	ps.require(l.MaxSize >= 1, "logging.max_size", l.MaxSize, "at least 1 (MiB)")
	ps.require(l.MaxBackups >= 0, "logging.max_backups", l.MaxBackups, "0 (keep all) or more")
	ps.require(l.MaxAge >= 0, "logging.max_age", l.MaxAge, "0 (keep for ever) or more days")
}

func (ps *problems) requireOneOf(key, value string, allowed ...string) {
	ps.require(slices.Contains(allowed, value), key, value, "one of %s", strings.Join(allowed, ", "))
}

func (p *Plugins) check(ps *problems) {
	ps.require(p.MaxMemory >= minMaxMemory, "plugins.max_memory", p.MaxMemory, "at least %v", minMaxMemory)
	ps.require(p.TotalMemory == 0 || p.TotalMemory >= p.MaxMemory, "plugins.total_memory", p.TotalMemory, "0 (no bound) or at least plugins.max_memory, %v", p.MaxMemory)
	ps.requirePositive("plugins.timeout", p.Timeout)
	ps.requireIDs("plugins.allowed_plugins", p.Allowed)
	ps.requireIDs("plugins.blocked_plugins", p.Blocked)
	p.Python.check(ps)
	ps.require(p.Warm.Max >= 0 && p.Warm.Max <= maxWarm, "plugins.warm.max", p.Warm.Max, "from 0 (each run starts anew) to %d", maxWarm)
	ps.requireInterval("plugins.warm.idle", p.Warm.Idle)
	ps.requireInterval("plugins.warm.age", p.Warm.Age)
	ps.require(p.Warm.Runs >= 1, "plugins.warm.runs", p.Warm.Runs, "at least 1")
	ps.require(p.UpdateInterval >= Duration(minUpdateInterval), "plugins.update_interval", p.UpdateInterval, "at least %v", Duration(minUpdateInterval))
	for _, place := range p.Sources {
		if _, err := repository.Parse(place); err != nil {
			ps.add("plugins.sources", "%v", err)
		}
	}
	for _, key := range p.TrustedKeys {
		if !bundle.IsKeyLine(key) {
			continue // a file, which is read when the agent starts
		}
		if _, err := bundle.ParseKeys(key); err != nil {
			ps.add("plugins.trusted_keys", "%.40q: %v", key, err)
		}
	}
}

func (ps *problems) requireIDs(key string, ids []api.PluginID) {
	for _, id := range ids {
		if err := id.Validate(); err != nil {
			ps.add(key, "%v", err)
		}
	}
}

func (h *Health) check(ps *problems) {
	ps.requireEndpoint("health", h.Bind, h.Port, h.Path)
	ps.requirePath("health.ready_path", h.ReadyPath)
	ps.requirePath("health.status_path", h.StatusPath)
	ps.require(h.ReadyPath != h.Path, "health.ready_path", h.ReadyPath, "another path than health.path")
	ps.require(h.StatusPath != h.Path && h.StatusPath != h.ReadyPath, "health.status_path", h.StatusPath, "another path than health.path and health.ready_path")
	ps.require(h.ReadyContact == 0 || h.ReadyContact >= Duration(minInterval), "health.ready_contact", h.ReadyContact, "0 (not asked for) or at least %v", Duration(minInterval))
}

// metricName is what Prometheus takes as the beginning of a metric's name.
var metricName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (m *Metrics) check(ps *problems) {
	ps.requireEndpoint("metrics", m.Bind, m.Port, m.Path)
	ps.require(metricName.MatchString(m.Namespace), "metrics.namespace", m.Namespace, "letters, digits and '_', not beginning with a digit")
}

func (ps *problems) requireEndpoint(section, bind string, port int, path string) {
	_, err := netip.ParseAddr(bind)
	ps.require(err == nil, section+".bind", bind, "an IP address, for example 127.0.0.1, or 0.0.0.0 for all")
	ps.require(port >= 0 && port <= 65535, section+".port", port, "from 0 (any free one) to 65535")
	ps.requirePath(section+".path", path)
}

// urlPath has no character that means something in a pattern of http.ServeMux.
var urlPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func (ps *problems) requirePath(key, p string) {
	ps.require(urlPath.MatchString(p) && path.Clean(p) == p, key, p, "a path of letters, digits and . _ ~ -, for example /health")
}
