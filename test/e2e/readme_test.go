package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
)

// reader does what README.md says, in its order, on a machine of which only the paths,
// the address and the watched directory are other ones.
type reader struct {
	*world
	here    *strings.Replacer // their paths and addresses → the test's
	watched string            // stands for /var/log
	printed map[string]string // the enrol commands that `tokens create` printed, by program
	files   map[string]string // the blocks of YAML, by the file that the text says
	sensor  *background
	action  *background
}

func newReader(t *testing.T) *reader {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	dir := t.TempDir()
	w := &world{Cluster: cluster.New(cluster.Options{Dir: dir, Bin: binDir}), t: t, ctx: ctx, dir: dir}
	r := &reader{world: w, watched: filepath.Join(dir, "var-log"), printed: map[string]string{}, files: map[string]string{}}
	r.here = strings.NewReplacer("/var/lib/stavily", dir, "/var/log", r.watched,
		":8443", "127.0.0.1:0", "stavily.example.com", "127.0.0.1", " plugins/", " "+root+"/plugins/")
	w.must(os.Mkdir(r.watched, 0o700))
	return r
}

// shell is a command as a person types it.
func (r *reader) shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+r.here.Replace(line))
	cmd.Env = environ("STAVILY_DATA_DIR="+r.DataDir(), "STAVILY_BASE_DIR="+filepath.Join(r.dir, "agent-{AGENT_ID}"))
	return cmd
}

func (r *reader) sh(line string) string {
	r.t.Helper()
	cmd := r.shell(r.ctx, line)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s: %v: %s", line, err, said.String())
	}
	return said.String()
}

func (r *reader) base(agent string) string { return filepath.Join(r.dir, "agent-"+agent) }

func (r *reader) config(agent string) string {
	return filepath.Join(r.base(agent), "config", "agent.yaml")
}

const readmeSensor, readmeAction = "web-01", "web-01-fix"

var comment = regexp.MustCompile(`\s+#.*$`)

// form is a command without its values, to compare what is printed with what is written.
func form(line string) string {
	return regexp.MustCompile(`(--(?:base-url|token|ca-fingerprint)) \S+`).ReplaceAllString(line, "$1")
}

// install does one line of the blocks of shell commands.
func (r *reader) install(line string) {
	r.t.Helper()
	switch {
	case strings.HasPrefix(line, "stavily server "):
		inBackground(r.t, r.shell(context.Background(), line))
		r.await("the server", func() error {
			_, err := r.CLI(r.ctx, "agents", "list")
			return err
		})
	case strings.HasPrefix(line, "stavily tokens create "):
		for _, said := range strings.Split(r.sh(line), "\n") {
			if program, _, found := strings.Cut(strings.TrimSpace(said), " enroll "); found {
				r.printed[program] = strings.TrimSpace(said)
			}
		}
	case strings.HasPrefix(line, "sensor-agent enroll "):
		if got := r.printed["sensor-agent"]; form(got) != form(line) {
			r.t.Fatalf("`tokens create` printed %q, README has %q", got, line)
		}
		r.sh(r.printed["sensor-agent"])
	case strings.HasPrefix(line, "cp "), strings.HasPrefix(line, "mkdir "):
		r.sh(line)
	case strings.HasPrefix(line, "sensor-agent --config "):
		r.sensor = inBackground(r.t, r.shell(context.Background(), line))
		r.awaitReady("sensor-agent", r.config(readmeSensor))
	default:
		r.t.Fatalf("README has the command %q, which this test does not know", line)
	}
}

// Everything that README.md tells to type or to write is typed and written, and does
// what it says.
func TestReadme(t *testing.T) {
	t.Parallel()
	text := repository(t, "README.md")
	if !strings.HasPrefix(text[strings.Index(text, "```"):], "```bash\nmake demo ") || strings.Count(text, "\n") > 150 {
		t.Error("README.md begins with another command than make demo, or is longer than 150 lines")
	}
	r := newReader(t)
	program, rest := "", text
	for {
		at := block.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		before, language, body := rest[:at[0]], rest[at[2]:at[3]], rest[at[4]:at[5]]
		switch language {
		case "bash":
			for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
				if line = comment.ReplaceAllString(line, ""); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "make ") {
					r.install(line)
				}
			}
		case "yaml":
			r.files[fileOf(t, before)] = r.here.Replace(body)
		case "python":
			program = body
		}
		rest = rest[at[1]:]
	}
	if r.sensor == nil || r.printed["action-agent"] == "" || program == "" || len(r.files) != 3 {
		t.Fatalf("README installs a sensor agent: %v, makes tokens %v, has files %v and a program of %d bytes", r.sensor != nil, r.printed, r.files, len(program))
	}
	for _, name := range []string{"config/plugins/var-log.yaml", "config/plugins/cleanup-files.yaml", "clean.yaml"} {
		if r.files[name] == "" {
			t.Fatalf("README has no %s, it has %v", name, r.files)
		}
	}
	r.installAction()
	r.askSettings(text)
	r.writePlugin(program)
	r.senseAndAct(text)
}

// fileOf is the YAML file that the text before a block names last.
func fileOf(t *testing.T, before string) string {
	t.Helper()
	named := regexp.MustCompile("`(?:[^`]* )?([^` ]+\\.yaml)`").FindAllStringSubmatch(before, -1)
	if named == nil {
		t.Fatalf("no file is named before a block of YAML: %q", before)
	}
	return named[len(named)-1][1]
}

// installAction does "the action agent is installed alike".
func (r *reader) installAction() {
	r.t.Helper()
	r.sh(r.printed["action-agent"])
	r.sh("cp -r plugins/actions/* " + filepath.Join(r.base(readmeAction), "data", "plugins"))
	r.must(os.WriteFile(filepath.Join(r.base(readmeAction), "config/plugins/cleanup-files.yaml"), []byte(r.files["config/plugins/cleanup-files.yaml"]), 0o600))
	r.action = inBackground(r.t, r.shell(context.Background(), "action-agent --config "+r.config(readmeAction)))
	r.awaitReady("action-agent", r.config(readmeAction))
}

// askSettings runs what the text says about settings, with the defaults for the ports.
func (r *reader) askSettings(text string) {
	r.t.Helper()
	for _, said := range []string{"`sensor-agent config show`", "`sensor-agent health --ready`", "`curl localhost:8080/ready`"} {
		if !strings.Contains(text, said) {
			r.t.Errorf("README no longer says %s: take it from this test as well", said)
		}
	}
	shown := r.sh("env -u STAVILY_HEALTH_PORT sensor-agent config show --config " + r.config(readmeSensor))
	for _, pattern := range []string{`(?m)^\s+port: 8080\s+# .*default`, `(?m)^\s+id: "?web-01"?\s+# .*agent\.yaml`, `(?m)ready_path: "?/ready"?`} {
		if !regexp.MustCompile(pattern).MatchString(shown) {
			r.t.Errorf("config show has nothing like %s:\n%s", pattern, shown)
		}
	}
	if said := r.sh("sensor-agent health --ready --config " + r.config(readmeSensor)); !strings.Contains(said, `"ready"`) {
		r.t.Errorf("health --ready = %s", said)
	}
}

// writePlugin installs README's plugin and the monitors.
func (r *reader) writePlugin(program string) {
	r.t.Helper()
	dir := filepath.Join(r.base(readmeSensor), "data", "plugins", "queue-length")
	r.write(filepath.Join(dir, "main.py"), program)
	permissions := regexp.MustCompile("`(permissions: [^`]+)`").FindStringSubmatch(repository(r.t, "README.md"))
	if permissions == nil {
		r.t.Fatal("README no longer says which permissions its plugin asks for")
	}
	r.write(filepath.Join(dir, "plugin.yaml"), permissions[1]+"\nid: queue-length\nname: Queue length\nversion: 1.0.0\ntype: sensor\n"+
		"runtime: {type: python, entry_point: main.py, contract: stdio}\n"+
		"configuration:\n  path: {type: string, required: true}\n  limit: {type: integer, required: true}\n")
	queue := filepath.Join(r.dir, "queue")
	r.write(queue, "7\n")
	monitors := filepath.Join(r.base(readmeSensor), "config", "plugins")
	r.write(filepath.Join(monitors, "queue.yaml"), fmt.Sprintf("plugin: queue-length\nconfig: {path: %q, limit: 5}\n", queue))
	r.write(filepath.Join(monitors, "var-log.yaml"), r.files["config/plugins/var-log.yaml"])
}

// senseAndAct applies the workflow, lets the directory be too full and watches.
func (r *reader) senseAndAct(text string) {
	r.t.Helper()
	r.write(filepath.Join(r.dir, "clean.yaml"), r.files["clean.yaml"])
	old := filepath.Join(r.watched, "old.log")
	r.must(os.WriteFile(old, nil, 0o600))
	r.must(os.Truncate(old, 1_000_000_001)) // sparse
	r.must(os.Chtimes(old, time.Time{}, time.Now().AddDate(0, 0, -8)))
	r.write(filepath.Join(r.watched, "new.log"), "today")

	commands := map[string]bool{}
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "stavily ") {
			commands[m[1]] = true
		}
	}
	say := func(command string) string {
		if !commands[command] {
			r.t.Fatalf("README no longer says %q, it says %v", command, commands)
		}
		delete(commands, command)
		return command
	}
	if said := r.sh(strings.Replace(say("stavily workflows apply -f clean.yaml"), "clean.yaml", filepath.Join(r.dir, "clean.yaml"), 1)); !strings.Contains(said, "clean-when-full is now at version 1") {
		r.t.Errorf("apply said %q", said)
	}
	follow := inBackground(r.t, r.shell(context.Background(), say("stavily events list --follow")))
	r.await("both events on the screen", func() error {
		if said := follow.printed(); !strings.Contains(said, "directory.size.high") || !strings.Contains(said, "queue.long") {
			return fmt.Errorf("%q", said)
		}
		return nil
	})
	run := r.awaitRun()
	if run.Status != "completed" {
		r.t.Fatalf("run = %+v", run)
	}
	if said := r.sh(say("stavily runs list")); !strings.Contains(said, run.ID) || !strings.Contains(said, "clean-when-full (1)") {
		r.t.Errorf("runs list said %q", said)
	}
	r.sh(strings.Replace(say("stavily runs logs RUN --follow"), "RUN", run.ID, 1))
	event := regexp.MustCompile(`directory\.size\.high +\S+ +(\S+)`).FindStringSubmatch(follow.printed())
	if event == nil {
		r.t.Fatalf("no id of the event in %q", follow.printed())
	}
	if said := r.sh(strings.Replace(say("stavily explain EVENT"), "EVENT", event[1], 1)); !strings.Contains(said, "clean-when-full") {
		r.t.Errorf("explain said %q", said)
	}
	r.sh(say("stavily explain") + " --help")
	if len(commands) > 0 {
		r.t.Errorf("README says %v, which this test does not run", commands)
	}
	if exists(r.t, old) || !exists(r.t, r.watched, "new.log") {
		r.t.Error("the old file is to be gone and the new one to be there")
	}
}
