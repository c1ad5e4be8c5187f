package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

// testdata/original holds what the original README has, letter by letter: its lines
// 305-321, 343-359, 488-530, 658-685 and 1204-1221 as samples, 1106-1140 as
// environment.sh, and its reference (997-1098) without the text between as every-key.yaml.
const original = "testdata/original/"

// asWritten is a file of the original as it stands on a host: a here-document of the
// shell has replaced the commands in it, and of "this|that" somebody has taken the first.
func asWritten(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(original + name)
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.NewReplacer("$(hostname)", "web-01", "$(date +%s)", "1764180000")
	return regexp.MustCompile(`"([a-z]+)\|[a-z|]+"`).ReplaceAllString(commands.Replace(string(text)), `"$1"`)
}

func loadOriginal(t *testing.T, name string, environ ...string) *Loaded {
	t.Helper()
	typ := api.Sensor
	if strings.Contains(name, "action") {
		typ = api.Action
	}
	path := write(t, filepath.Join(t.TempDir(), "agent.yaml"), asWritten(t, name))
	l, err := Load(LoadOptions{Type: typ, Environ: environ, Flags: parseFlags(t, "--config", path)})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l
}

// What people copied from the original README goes on to start their agents (R099).
func TestOriginalSamplesLoad(t *testing.T) {
	for _, name := range []string{"quick-start-sensor.yaml", "quick-start-action.yaml", "bare-metal.yaml", "docker-sensor.yaml", "every-key.yaml"} {
		l := loadOriginal(t, name)
		id := string(l.Config.Agent.ID)
		if strings.Contains(asWritten(t, name), "agent-{AGENT_ID}") && !strings.Contains(l.Config.API.Auth.CertFile+l.Config.Agent.BaseDir, "agent-"+id) {
			t.Errorf("%s: cert_file is %s: {AGENT_ID} is not replaced", name, l.Config.API.Auth.CertFile)
		}
		if len(l.Warnings) > 0 {
			t.Errorf("%s: warnings %q", name, l.Warnings)
		}
	}
	bare := loadOriginal(t, "bare-metal.yaml").Config
	base := "/var/lib/stavily/agent-sensor-web-01-1764180000"
	if got := []string{bare.Agent.BaseDir, bare.Logging.File, bare.Plugins.Dir, bare.API.Auth.KeyFile, bare.Security.Sandbox.User, bare.Security.Sandbox.Chroot}; !slices.Equal(got,
		[]string{base, base + "/logs/agent.log", base + "/data/plugins", base + "/certificates/client.key", "stavily", "/var/lib/stavily"}) {
		t.Errorf("bare metal: %q", got)
	}
	tuned := loadOriginal(t, "tuning.yaml", "STAVILY_AGENT_ID=a", "STAVILY_API_BASE_URL=https://h").Config // a fragment (R191)
	if tuned.API.Timeout.String() != "10s" || tuned.API.Retry.InitialInterval.String() != "500ms" || tuned.API.Retry.MaxAttempts != 5 ||
		tuned.Plugins.MaxMemory != Gigabyte || tuned.Plugins.Timeout.String() != "10m" || tuned.Logging.Level != "warn" || tuned.Logging.MaxSize != 500 {
		t.Errorf("tuning is taken as %+v", tuned)
	}
}

// ownValues are the keys of the original's reference whose sample is nobody's default:
// names and places (F08), the sandbox's user and chroot (F14), and the type, which is the binary's.
var ownValues = regexp.MustCompile(`^agent\.(id|name|organization_id|base_dir|environment|tags)$|_file$|\.file$|dir$|base_url$|^security\.sandbox\.(user|chroot)$`)

// chosen are the keys of which the original names all words, and the default in a comment.
var chosen = regexp.MustCompile(`^logging\.(level|format)$`)

// Where the original names the words of a key and says which is the default, all are
// taken, and that is the default.
func TestDefaultsOfChoices(t *testing.T) {
	text, err := os.ReadFile(original + "every-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	byDefault := Default(api.Sensor)
	choices := regexp.MustCompile(`(?m)^  (\w+): "([a-z|]+)" +# .*\(default: (\w+)\)$`).FindAllStringSubmatch(string(text), -1)
	if len(choices) != 2 {
		t.Fatalf("%d choices with a default: want two, of logging", len(choices))
	}
	for _, m := range choices {
		key := "logging." + m[1]
		if got := find(&byDefault, key).value.String(); got != m[3] {
			t.Errorf("%s is %q by default, the original documents %q", key, got, m[3])
		}
		for word := range strings.SplitSeq(m[2], "|") {
			c := Default(api.Sensor)
			c.Agent.ID, c.API.BaseURL = "a", "https://h"
			find(&c, key).value.SetString(word)
			if err := c.Validate(); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}

// Every key that the original documents is taken (R043–R097), and its sample is the
// default where that can be (F08).
func TestOriginalReferenceIsTheDefaults(t *testing.T) {
	text := asWritten(t, "every-key.yaml")
	said := Default(api.Sensor)
	doc, err := strictyaml.Load("every-key.yaml", []byte(text), &said)
	if err != nil {
		t.Fatal(err)
	}
	byDefault := Default(api.Sensor)
	count := 0
	for i, l := range leaves(&said) {
		if !doc.Has(l.path) {
			continue
		}
		count++
		want := leaves(&byDefault)[i].value
		same := reflect.DeepEqual(l.value.Interface(), want.Interface()) || want.Kind() == reflect.Slice && want.Len() == 0 && l.value.Len() == 0
		if !same && !ownValues.MatchString(l.key()) && !chosen.MatchString(l.key()) {
			t.Errorf("%s: the original documents %v, the default is %v", l.key(), l.value, want)
		}
	}
	if want := len(regexp.MustCompile(`(?m)^ +[a-z_]+: +[^ #]|^ +tags:`).FindAllString(text, -1)); count != want {
		t.Errorf("%d keys are set, the original documents %d", count, want)
	}
}

// The variables of the original, all of them at once (R101–R107).
func TestOriginalEnvironment(t *testing.T) {
	var environ []string
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)="(.*)"$`).FindAllStringSubmatch(asWritten(t, "environment.sh"), -1) {
		environ = append(environ, m[1]+"="+m[2])
	}
	if len(environ) != 22 {
		t.Fatalf("%d variables: want the original's 22", len(environ))
	}
	l, err := Load(LoadOptions{Type: api.Sensor, Environ: environ})
	if err != nil || len(l.Warnings) > 0 {
		t.Fatalf("%v, %v", err, l)
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		for _, leaf := range leaves(&l.Config) {
			if leaf.variable() == name && strings.Trim(string(display(leaf.value)), `"`) != value {
				t.Errorf("%s is %s, and %s is %s", name, value, leaf.key(), display(leaf.value))
			}
		}
	}
}

// Each key can be set by its variable, whatever its type is (R100, F20).
func TestEveryKeyHasAVariable(t *testing.T) {
	c := Default(api.Sensor)
	for _, l := range leaves(&c) {
		settings, _ := envSettings(map[string]string{l.variable(): "x"})
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.key == l.key() && s.where == l.variable() }) {
			t.Errorf("%s is not set by %s", l.key(), l.variable())
		}
		before := reflect.ValueOf(l.value.Interface())
		text := textOf(before)
		if text == "" {
			continue // nothing to say: an empty variable counts as unset
		}
		l.value.SetZero()
		if err := l.set(text); err != nil || !reflect.DeepEqual(l.value.Interface(), before.Interface()) {
			t.Errorf("%s=%s gives %v (%v), want %v", l.variable(), text, l.value, err, before)
		}
	}
}

// textOf is how a value is written in a variable.
func textOf(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, v.Index(i).String())
		}
		return strings.Join(items, ", ")
	case reflect.Map:
		return ""
	case reflect.Struct: // a Secret, empty by default
		return ""
	}
	return strings.Trim(string(display(v)), `"`)
}
