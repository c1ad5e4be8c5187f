package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestTracing(t *testing.T) {
	l := mustLoad(t, LoadOptions{Type: api.Sensor, Flags: parseFlags(t, "--agent-id=a", "--base-url=https://h"), Environ: []string{
		"STAVILY_TRACING_ENABLED=true", "STAVILY_TRACING_ENDPOINT=https://otel", "STAVILY_TRACING_HEADERS=api-key=hunter2, x=1",
	}})
	if got := l.Config.Tracing; !got.Enabled || got.Headers["api-key"].Reveal() != "hunter2" || got.Headers["x"].Reveal() != "1" {
		t.Errorf("%+v", got)
	}
	if shown := fmt.Sprintf("%v %+v %s", l.Config, l.Config.Tracing, l.json()); strings.Contains(shown, "hunter2") {
		t.Errorf("a header is shown: %s", shown)
	}
}

func TestWhereSpansGo(t *testing.T) {
	env := func(string) string { return "https://from-env" }
	for given, want := range map[string]string{"": "https://from-env", "https://set": "https://set"} {
		if got := (&Tracing{Endpoint: given}).Collector(env); got != want {
			t.Errorf("%q: %q", given, got)
		}
	}
	if got := (&Tracing{}).Collector(func(string) string { return "" }); got != defaultCollector {
		t.Errorf("%q", got)
	}
}

func TestTracingMistakes(t *testing.T) {
	good := Default(api.Sensor).Tracing
	for name, c := range map[string]struct {
		change func(*Tracing)
		want   string
	}{
		"none":             {func(*Tracing) {}, ""},
		"another exporter": {func(t *Tracing) { t.Exporter = "jaeger" }, "tracing.exporter"},
		"a sampler":        {func(t *Tracing) { t.Sampler = "sometimes" }, "traceidratio:0.1"},
		"no URL":           {func(t *Tracing) { t.Endpoint = "otel:4318" }, "for example http://"},
		"loopback":         {func(t *Tracing) { t.Endpoint = "http://[::1]:4318" }, ""},
		"in the clear":     {func(t *Tracing) { t.Endpoint = "http://otel:4318" }, "tracing.insecure"},
		"as asked for":     {func(t *Tracing) { t.Endpoint, t.Insecure = "http://otel:4318", true }, ""},
	} {
		settings := good
		c.change(&settings)
		var ps problems
		settings.check(&ps)
		if got := fmt.Sprint(ps); (c.want == "") != (len(ps) == 0) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
