package config

import (
	"net"
	"net/url"

	"github.com/stavily/agents/shared/pkg/trace"
)

// Tracing sends what happened to one event, on its way through sensor, orchestrator and
// action, to an OpenTelemetry collector (F38). While it is off it costs nothing.
type Tracing struct {
	Enabled  bool              `yaml:"enabled"`  // whether spans are recorded and sent; a trace that others record passes through either way
	Exporter string            `yaml:"exporter"` // otlp: OTLP over HTTP in JSON is all that there is
	Endpoint string            `yaml:"endpoint"` // the collector: a URL, to which /v1/traces is added; empty: OTEL_EXPORTER_OTLP_ENDPOINT, or else http://127.0.0.1:4318
	Sampler  string            `yaml:"sampler"`  // which traces that begin here are recorded: always_on, always_off or traceidratio:0.1 for a tenth; those that come in are as who began them says
	Insecure bool              `yaml:"insecure"` // true: endpoint may be http:// on another host, where whoever is on the way reads names and errors
	Headers  map[string]Secret `yaml:"headers"`  // of every request to the collector, for example an API key; empty: OTEL_EXPORTER_OTLP_HEADERS
}

// OTLP is the only exporter.
const OTLP = "otlp"

const defaultCollector = "http://127.0.0.1:4318" // where a collector on the same host listens

func (t *Tracing) check(ps *problems) {
	ps.require(t.Exporter == OTLP, "tracing.exporter", t.Exporter, OTLP)
	if _, err := trace.ParseSampler(t.Sampler); err != nil {
		ps.add("tracing.sampler", "%v", err)
	}
	if t.Endpoint != "" {
		t.CheckEndpoint(t.Endpoint, func(why string) { ps.add("tracing.endpoint", "%s", why) })
	}
}

// CheckEndpoint tells what is wrong with a collector's URL, which may come from the
// environment.
func (t *Tracing) CheckEndpoint(endpoint string, tell func(why string)) {
	if _, err := trace.Endpoint(endpoint); err != nil {
		tell(err.Error())
		return
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme == "https" || t.Insecure {
		return
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		tell(`"` + endpoint + `": is http:// on another host: use https://, or set tracing.insecure to send names and errors in the clear`)
	}
}

// Collector is the endpoint, from the first place that names one.
func (t *Tracing) Collector(env func(string) string) string {
	for _, endpoint := range []string{t.Endpoint, env(trace.EnvEndpoint)} {
		if endpoint != "" {
			return endpoint
		}
	}
	return defaultCollector
}
