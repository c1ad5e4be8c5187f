package config

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// minimal is the least that starts an agent.
const minimal = "agent: {id: web-01}\napi: {base_url: 'https://h'}\n"

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parseFlags(t testing.TB, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	RegisterFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func mustLoad(t testing.TB, o LoadOptions) *Loaded {
	t.Helper()
	if o.Type == "" {
		o.Type = api.Sensor
	}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// loadText loads text as the configuration file of a sensor agent.
func loadText(t *testing.T, text string, environ ...string) (*Loaded, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "a.yaml", text)
	return Load(LoadOptions{Type: api.Sensor, Flags: parseFlags(t, "--config=a.yaml"), Environ: environ, Hostname: "Host-1"})
}

func TestMinimalFlagsSuffice(t *testing.T) {
	t.Chdir(t.TempDir())
	l := mustLoad(t, LoadOptions{Type: api.Action, Flags: parseFlags(t, "--agent-id", "a1", "--base-url=https://h:1/")})
	base, err := filepath.Abs("agent-a1")
	if err != nil {
		t.Fatal(err)
	}
	want := Default(api.Action)
	want.Agent.ID, want.Agent.Name, want.Agent.BaseDir = "a1", "a1", base
	want.API.BaseURL = "https://h:1"
	want.API.Auth.CertFile = filepath.Join(base, "certificates", "client.crt")
	want.API.Auth.KeyFile = filepath.Join(base, "certificates", "client.key")
	want.API.Auth.CAFile = filepath.Join(base, "certificates", "ca.crt")
	want.API.Auth.TokenFile = filepath.Join(base, "certificates", "token.jwt")
	want.Logging.File = filepath.Join(base, "logs", "agent.log")
	want.Security.Audit.File = filepath.Join(base, "logs", "audit", "audit.log")
	want.Plugins.Dir = filepath.Join(base, "data", "plugins")
	want.Plugins.ConfigDir = filepath.Join(base, "config", "plugins")
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if l.File != "" || len(l.Warnings) != 0 {
		t.Errorf("file %q, warnings %q, want none", l.File, l.Warnings)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("Load made %v (%v): it must make nothing", entries, err)
	}
}

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestEveryKindOfValueFromTheEnvironment(t *testing.T) {
	l, err := loadText(t, minimal,
		"STAVILY_AGENT_TAGS= a:1, ,b:2 ", "STAVILY_PLUGINS_BLOCKED_PLUGINS=x,y", "STAVILY_HEALTH_ENABLED=false",
		"STAVILY_HEALTH_PORT=0", "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=2.5", "STAVILY_PLUGINS_MAX_MEMORY=1 GiB",
		"STAVILY_API_TIMEOUT=500ms", "STAVILY_AGENT_TYPE=sensor", "STAVILY_LOGGING_LEVEL=",
		"STAVILY_PLUGINS_PINS=x="+digest+", y = "+digest)
	if err != nil {
		t.Fatal(err)
	}
	want := Default(api.Sensor)
	want.Agent.Tags, want.Plugins.Blocked, want.Health.Enabled, want.Health.Port = []string{"a:1", "b:2"}, []api.PluginID{"x", "y"}, false, 0
	want.Plugins.Pins = Pins{"x": digest, "y": digest}
	want.API.RateLimit.RequestsPerSecond, want.Plugins.MaxMemory, want.API.Timeout = 2.5, Gibibyte, Duration(500*time.Millisecond)
	ignore := cmp.Options{
		cmpopts.IgnoreFields(Agent{}, "ID", "Name", "BaseDir"), cmpopts.IgnoreFields(API{}, "BaseURL"),
		cmpopts.IgnoreFields(Auth{}, "CertFile", "KeyFile", "CAFile", "TokenFile"), cmpopts.IgnoreFields(Logging{}, "File"), cmpopts.IgnoreFields(Audit{}, "File"), cmpopts.IgnoreFields(Plugins{}, "Dir", "ConfigDir"),
	}
	if diff := cmp.Diff(want, l.Config, ignore); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if got := l.Origin("agent.tags"); got != "STAVILY_AGENT_TAGS" {
		t.Errorf("origin of agent.tags = %q", got)
	}
	if got := l.Origin("logging.level"); got != "default" {
		t.Errorf("an empty variable counts as set: origin %q", got)
	}
}

func TestUnknownVariablesWarn(t *testing.T) {
	l, err := loadText(t, minimal, "STAVILY_API_BASEURL=x", "STAVILY_ZEBRA_XYZZY_PLUGH=1", "STAVILY_AGENT_SOCKET=/s", "STAVILY_CONFIG=", "OTHER=1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"environment variable STAVILY_API_BASEURL is read by nothing: did you mean STAVILY_API_BASE_URL?",
		"environment variable STAVILY_ZEBRA_XYZZY_PLUGH is read by nothing",
	}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// For every subset of the places that can set a key, the strongest of them wins
// and the origin names it.
func TestPrecedence(t *testing.T) {
	places := []struct{ where, value string }{ // weakest first
		{"default", ""}, {"f.yaml:2:13", "/from/file"}, {"STAVILY_BASE_DIR", "/from/old"}, {"STAVILY_AGENT_BASE_DIR", "/from/env"}, {"--base-dir", "/from/flag"},
	}
	t.Chdir(t.TempDir())
	rapid.Check(t, func(rt *rapid.T) {
		given := rapid.SliceOfN(rapid.Bool(), len(places), len(places)).Draw(rt, "given")
		file, args, environ := "agent:\n  id: x\n", []string{"--config=f.yaml", "--base-url=https://h"}, []string{}
		want := places[0]
		want.where, want.value = "from agent.id", "agent-x"
		for i, p := range places[1:] {
			if !given[i+1] {
				continue
			}
			want = p
			switch i {
			case 0:
				file = "agent:\n  base_dir: /from/file\n  id: x\n"
			case 1, 2:
				environ = append(environ, p.where+"="+p.value)
			case 3:
				args = append(args, p.where, p.value)
			}
		}
		if err := os.WriteFile("f.yaml", []byte(file), 0o600); err != nil {
			rt.Fatal(err)
		}
		l, err := Load(LoadOptions{Type: api.Sensor, Flags: parseFlags(t, args...), Environ: environ})
		if err != nil {
			rt.Fatal(err)
		}
		value, err := filepath.Abs(want.value)
		if err != nil {
			rt.Fatal(err)
		}
		if got := l.Config.Agent.BaseDir; got != value || l.Origin("agent.base_dir") != want.where {
			rt.Errorf("base_dir = %q from %q, want %q from %q", got, l.Origin("agent.base_dir"), value, want.where)
		}
	})
}

func TestWhereTheFileIsFound(t *testing.T) {
	for _, place := range []string{"base/config/agent.yaml", "base/config/sensor.yaml", "base/sensor-agent/config.yaml"} {
		t.Run(place, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, place, minimal)
			write(t, "base/config/action.yaml", "not: ours\n")
			l := mustLoad(t, LoadOptions{Environ: []string{"STAVILY_BASE_DIR=base"}})
			if !strings.HasSuffix(filepath.ToSlash(l.File), place) || l.Config.Agent.ID != "web-01" {
				t.Errorf("found %q with id %q, want %s", l.File, l.Config.Agent.ID, place)
			}
		})
	}
	t.Run("by id", func(t *testing.T) {
		t.Chdir(t.TempDir())
		write(t, "agent-web-01/config/agent.yaml", minimal)
		if l := mustLoad(t, LoadOptions{Flags: parseFlags(t, "--agent-id=web-01")}); l.File == "" {
			t.Error("the file in the default base directory is not found")
		}
	})
	t.Run("named", func(t *testing.T) {
		t.Chdir(t.TempDir())
		write(t, "base/config/agent.yaml", "not: looked at\n")
		write(t, "env.yaml", minimal)
		write(t, "flag.yaml", minimal)
		environ := []string{"STAVILY_BASE_DIR=base", "STAVILY_CONFIG=env.yaml"}
		if l := mustLoad(t, LoadOptions{Environ: environ}); l.File != "env.yaml" {
			t.Errorf("file = %q, want the one of STAVILY_CONFIG", l.File)
		}
		if l := mustLoad(t, LoadOptions{Environ: environ, Flags: parseFlags(t, "--config=flag.yaml")}); l.File != "flag.yaml" {
			t.Errorf("file = %q, want the one of --config", l.File)
		}
	})
	t.Run("the machine's", func(t *testing.T) {
		got := candidates("", "action")
		if diff := cmp.Diff([]string{filepath.Join("/etc/stavily", "action-agent.yaml")}, got); diff != "" {
			t.Errorf("without a base directory (-want +got):\n%s", diff)
		}
	})
	t.Run("named and absent", func(t *testing.T) {
		t.Chdir(t.TempDir())
		_, err := Load(LoadOptions{Type: api.Sensor, Flags: parseFlags(t, "--config=none.yaml")})
		if err == nil || !strings.Contains(err.Error(), "read the configuration: open none.yaml") {
			t.Errorf("err = %v, want one that names the file", err)
		}
	})
}

func TestDefaultBaseDirectory(t *testing.T) {
	system := filepath.Join(systemBase, "agent-a")
	for _, c := range []struct {
		name     string
		writable func(string) bool
		want     string
	}{
		{"nobody says", nil, "agent-a"},
		{"nothing", func(string) bool { return false }, "agent-a"},
		{"its parent", func(dir string) bool { return dir == systemBase }, system},
		{"itself, made by root for this agent", func(dir string) bool { return dir == system }, system},
	} {
		if got := defaultBase("a", c.writable); got != c.want {
			t.Errorf("%s writable: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCertificatesInOlderPlaces(t *testing.T) {
	for _, dir := range []string{"certificates", "certs", "config/certificates"} {
		t.Run(dir, func(t *testing.T) {
			base := t.TempDir()
			for _, name := range []string{"client.crt", "client.key", "ca.crt"} {
				write(t, filepath.Join(base, dir, name), "")
			}
			l := mustLoad(t, LoadOptions{Flags: parseFlags(t, "--agent-id=a", "--base-url=https://h", "--base-dir="+base)})
			auth, dir := l.Config.API.Auth, filepath.Join(base, dir)
			want := Auth{Type: Certificate, CertFile: filepath.Join(dir, "client.crt"), KeyFile: filepath.Join(dir, "client.key"), CAFile: filepath.Join(dir, "ca.crt"),
				TokenFile: filepath.Join(base, "certificates", "token.jwt"), RefreshThreshold: Duration(defaultRefreshThreshold)}
			if diff := cmp.Diff(want, auth); diff != "" {
				t.Errorf("auth (-want +got):\n%s", diff)
			}
			if told := len(l.Warnings) == 1; told == (filepath.Base(filepath.Dir(dir)) != "config" && filepath.Base(dir) == "certificates") {
				t.Errorf("warnings = %q", l.Warnings)
			}
		})
	}
}

func TestReferencesInTexts(t *testing.T) {
	l, err := loadText(t, `
agent:
  id: "${PREFIX}-{HOSTNAME}"
  organization_id: acme
  base_dir: "/srv/{ORG_ID}/agent-{AGENT_ID}"
  tags: ["on:{HOSTNAME}", "{}", "{lower}", "$PREFIX"]
  environment: "${ONCE}"
api: {base_url: "https://h"}
logging: {file: "own/{AGENT_ID}.log"}
`, "PREFIX=web", "ONCE={AGENT_ID}")
	if err != nil {
		t.Fatal(err)
	}
	a := l.Config.Agent
	got := []string{string(a.ID), a.BaseDir, strings.Join(a.Tags, " "), a.Environment, l.Config.Logging.File}
	want := []string{"web-host-1", "/srv/acme/agent-web-host-1", "on:host-1 {} {lower} $PREFIX", "{AGENT_ID}", "/srv/acme/agent-web-host-1/own/web-host-1.log"}
	for i, path := range want {
		if strings.HasPrefix(path, "/") { // on Windows a drive stands before it
			abs, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			want[i] = abs
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// What has no effect is told, and what is chosen comes to be (F15).
func TestCipherSuites(t *testing.T) {
	const suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
	for version, warned := range map[string]bool{"1.2": false, "1.3": true} {
		l := mustLoad(t, LoadOptions{Flags: parseFlags(t, "--agent-id=a", "--base-url=https://h"), Environ: []string{"STAVILY_SECURITY_TLS_MIN_VERSION=" + version, "STAVILY_SECURITY_TLS_CIPHER_SUITES=" + suite}})
		told := slices.ContainsFunc(l.Warnings, func(w string) bool { return strings.Contains(w, "security.tls.cipher_suites has no effect") })
		if told != warned {
			t.Errorf("with %s the warnings are %q", version, l.Warnings)
		}
		if got := l.Config.Security.TLS.Suites(); len(got) != 1 || tls.CipherSuiteName(got[0]) != suite {
			t.Errorf("suites %v", got)
		}
	}
	if got := Default(api.Sensor).Security.TLS; got.Suites() != nil || got.Version() != tls.VersionTLS13 {
		t.Errorf("by default %v from %x", got.Suites(), got.Version())
	}
}
