package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/shared/pkg/api"
)

// shape is JSON Schema beyond what the type of a key says.
type shape = map[string]any

func oneOf(words ...string) shape { return shape{"enum": words} }

func between(low, high float64) shape { return shape{"minimum": low, "maximum": high} }

func atLeast(low float64) shape { return shape{"minimum": low} }

// shapes are the words and the bounds of keys, told to editors. That Validate has the
// same ones is tested; a key that is not here is told its type only.
var shapes = map[string]shape{
	"agent.id":                           {"pattern": `^[a-z0-9][a-z0-9._-]{0,62}$|[{]`},
	"agent.organization_id":              {"pattern": `^[a-z0-9][a-z0-9._-]{0,62}$|[{]|^$`},
	"api.auth.type":                      oneOf(Certificate, JWT),
	"agent.type":                         oneOf("sensor", "action"),
	"api.base_url":                       {"pattern": `^https://|[{]`},
	"api.max_concurrent":                 between(1, maxMaxConcurrent),
	"api.retry.max_attempts":             atLeast(1),
	"api.retry.backoff":                  oneOf(Exponential),
	"api.rate_limit.requests_per_second": {"exclusiveMinimum": 0, "maximum": maxRequestsPerSecond},
	"api.rate_limit.burst":               atLeast(1),
	"logging.level":                      oneOf("debug", "info", "warn", "error"),
	"logging.format":                     oneOf("json", "text"),
	"logging.output":                     oneOf("both", "file", "stdout"),
	"logging.max_size":                   atLeast(1),
	"logging.max_backups":                atLeast(0),
	"logging.max_age":                    atLeast(0),
	"security.tls.min_version":           oneOf("1.3", "1.2"),
	"security.sandbox.require":           oneOf("full", "confined", "limited", "none"),
	"security.sandbox.level":             oneOf("full", "confined", "limited", "none"),
	"security.sandbox.network":           oneOf(networks...),
	"security.sandbox.max_processes":     atLeast(minProcesses),
	"security.sandbox.max_cpu":           between(minCPU, maxCPU),
	"plugins.warm.max":                   between(0, maxWarm),
	"plugins.warm.runs":                  atLeast(1),
	"health.port":                        between(0, 65535),
	"health.path":                        {"pattern": "^/|[{]"},
	"health.ready_path":                  {"pattern": "^/|[{]"},
	"health.status_path":                 {"pattern": "^/|[{]"},
	"tracing.exporter":                   oneOf(OTLP),
	"metrics.port":                       between(0, 65535),
	"metrics.path":                       {"pattern": "^/|[{]"},
	"metrics.namespace":                  {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$|[{]"},
	"require":                            oneOf("full", "confined", "limited", "none"), // of a plugin's file, as those below
	"processes":                          between(0, math.MaxInt32),
	"cpu":                                between(0, maxCPU),
}

func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(configs, name))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge gives what an editor says of a text.
func judge(t *testing.T, s *jsonschema.Schema, src []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(src, &v); err != nil {
		t.Fatalf("%v in %s", err, src)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(instance)
}

// Editors have nothing to say of the samples, nor of what the original had.
func TestSamplesFitTheSchema(t *testing.T) {
	for pattern, name := range map[string]string{
		configs + "/*.yaml": "agent.schema.json", "testdata/original/*.yaml": "agent.schema.json", configs + "/plugins/*.yaml": "plugin.schema.json",
	} {
		s := compiled(t, name)
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) < 3 {
			t.Fatalf("%s: %v, %v: want at least three", pattern, paths, err)
		}
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path, original) {
				src = []byte(asWritten(t, filepath.Base(path)))
			}
			if err := judge(t, s, src); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			line := "# yaml-language-server: $schema=" + strings.Repeat("../", strings.Count(pattern, "/plugins")) + name + "\n"
			if strings.HasPrefix(path, configs) && !bytes.HasPrefix(src, []byte(line)) {
				t.Errorf("%s does not begin with %q, by which editors find the schema", path, line)
			}
		}
	}
}

// What agents refuse editors mark, as far as a schema can.
func TestTheSchemaRefusesWhatTheAgentRefuses(t *testing.T) {
	s, plugin := compiled(t, "agent.schema.json"), compiled(t, "plugin.schema.json")
	for _, text := range []string{
		"agent: {id: Web}", "agent: {type: sensor, idd: a}", "agent: {tags: a}", "agent: {heartbeat_interval: 30}", "agent: {heartbeat_interval: soon}", "agnt: {}", "agent: []",
		"api: {base_url: 'http://h'}", "api: {max_concurrent: 0}", "api: {max_concurrent: two}", "api: {retry: {backoff: linear}}", "api: {timeout: 30}",
		"api: {auth: {type: password}}", "api: {auth: {kye_file: x}}", "api: {rate_limit: {burst: 1.5}}", "logging: {level: loud}", "logging: {compress: 7}",
		"security: {tls: {min_version: 1.3.1}}", "security: {sandbox: {require: some}}", "security: {sandbox: {read: /}}", "plugins: {max_memory: 256M}",
		"plugins: {max_memory: -1}", "plugins: {pins: [a]}", "plugins: {warm: {max: -1}}", "spool: {max_bytes: many}", "health: {port: 65536}", "health: {path: health}",
		"metrics: {namespace: 9x}",
	} {
		bySchema := judge(t, s, []byte(text))
		_, byAgent := loadText(t, text+"\n", others(text)...)
		if bySchema == nil || byAgent == nil {
			t.Errorf("%s: schema: %v, agent: %v", text, bySchema, byAgent)
		}
	}
	for _, text := range []string{"plugn: a", "plugin: [a]", "plugin: a\ninterval: 5", "plugin: a\nmemory: 1M", "plugin: a\nnetwork: some", "plugin: a\nenabled: maybe"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.yaml"), text+"\n")
		if _, errs := LoadPluginFiles(dir); len(errs) == 0 || judge(t, plugin, []byte(text)) == nil {
			t.Errorf("%s: schema: %v, agent: %v", text, judge(t, plugin, []byte(text)), errs)
		}
	}
}

// others are the variables that set what an agent must have and text does not set.
func others(text string) (environ []string) {
	if !strings.Contains(text, "agent: {id") {
		environ = append(environ, "STAVILY_AGENT_ID=a")
	}
	if !strings.Contains(text, "base_url") {
		environ = append(environ, "STAVILY_API_BASE_URL=https://h")
	}
	return environ
}

// The words and bounds that editors are told are those that Validate has.
func TestShapesAreThoseOfValidate(t *testing.T) {
	refuses := func(key string, set func(reflect.Value)) bool {
		c := Default(api.Sensor)
		c.Agent.ID, c.API.BaseURL = "a", "https://h"
		set(find(&c, key).value)
		return c.check().has(key)
	}
	number := func(f float64) func(reflect.Value) {
		return func(v reflect.Value) {
			if v.CanInt() {
				v.SetInt(int64(f))
			} else {
				v.SetFloat(f)
			}
		}
	}
	for key, s := range shapes {
		if !strings.Contains(key, ".") {
			continue // of a plugin's file
		}
		words, _ := s["enum"].([]string)
		for _, w := range words {
			if refuses(key, func(v reflect.Value) { v.SetString(w) }) && !(key == "security.sandbox.level" || key == "security.sandbox.require") { // these two look at each other
				t.Errorf("%s: %q is told to editors and refused", key, w)
			}
		}
		if len(words) > 0 && !refuses(key, func(v reflect.Value) { v.SetString("nonsense") }) {
			t.Errorf("%s: editors are told of words, and every word is taken", key)
		}
		for bound, sign := range map[string]float64{"minimum": -1, "maximum": 1} {
			if f, ok := s[bound].(float64); ok && (refuses(key, number(f)) || !refuses(key, number(f+sign))) {
				t.Errorf("%s: %v is not the %s", key, f, bound)
			}
		}
	}
	// No key with a fixed set of words is left out without a word.
	for _, l := range leaves(new(Config)) {
		if s, ok := shapes[l.key()]; ok && fmt.Sprint(s) == "map[]" || !ok && slices.Contains([]string{"level", "format", "output", "backoff", "port"}, l.path[len(l.path)-1].(string)) {
			t.Errorf("%s has no shape", l.key())
		}
	}
}
