package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// typist types the commands of pages on day two, where an orchestrator and a sensor agent
// web-01 with one monitor run. Only paths and the addresses are other ones, and what env says.
func typist(t *testing.T, env ...string) *reader {
	t.Helper()
	w := newWorld(t, env...)
	r := &reader{world: w, watched: filepath.Join(w.dir, "var-log")}
	r.here = strings.NewReplacer("/var/lib/stavily", w.dir, "/var/log", r.watched, " configs/", " "+root+"/configs/")
	w.must(os.Mkdir(r.watched, 0o700))
	w.agent(readmeSensor, api.Sensor, nil, map[string]string{
		"var-log": "plugin: directory-size\ninterval: 1s\nconfig: {path: " + r.watched + ", max_bytes: 1000000000}\n",
	})
	w.start(readmeSensor)
	w.await("the agent and its monitor", func() error {
		a := cli[agentWithHealth](w, "agents", "show", readmeSensor)
		if a.Status != "online" || len(a.Monitors) != 1 || a.Monitors[0].State != "running" {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	return r
}

// typeAll runs each block of bash of a page, and returns what was printed, by command.
func (r *reader) typeAll(page string) map[string]string {
	r.t.Helper()
	said := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(repository(r.t, page), -1) {
		if m[1] != "bash" {
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSpace(m[2]), "\n") {
			said[line] = r.sh(comment.ReplaceAllString(line, ""))
		}
	}
	return said
}

// What the pages for day two tell to type is typed, and says what they say.
func TestOperatePage(t *testing.T) {
	t.Parallel()
	r := typist(t)
	for command, text := range r.typeAll("docs/troubleshoot.md") {
		if !strings.Contains(text, `"ready"`) {
			t.Errorf("%s: %s", command, text)
		}
	}
	said := r.typeAll("docs/operate.md")
	for command, want := range map[string]string{
		"stavily agents list":                                     "web-01",
		"stavily agents show web-01":                              "directory-size",
		"sensor-agent health --ready --agent-id web-01":           `"ready"`,
		"sensor-agent config show --agent-id web-01":              "agent.yaml:",
		"sensor-agent plugins list --agent-id web-01":             "disk-space",
		"sensor-agent audit show --agent-id web-01 --last 20":     "enrolled",
		"tail -n 20 /var/lib/stavily/agent-web-01/logs/agent.log": `"msg"`,
		"stavily tokens list":                                     "web-01",
		"stavily audit list":                                      "enroll",
	} {
		if text, typed := said[command]; !typed || !strings.Contains(text, want) {
			t.Errorf("%s said %q, want %q", command, text, want)
		}
	}
	if len(said) < 18 {
		t.Errorf("only %d commands were typed", len(said))
	}
	r.await("the revoked agent to say so", func() error {
		text, err := r.shell(r.ctx, "sensor-agent health --ready --agent-id web-01").Output()
		if err == nil || !strings.Contains(string(text), "was revoked at") {
			return fmt.Errorf("%v: %s", err, text)
		}
		return nil
	})
}

// What is backed up as the page says is enough to go on with, and says who has to enrol
// again.
func TestBackUpAndRestore(t *testing.T) {
	t.Parallel()
	r := typist(t, "STAVILY_AGENT_HEARTBEAT_INTERVAL=1s")
	r.here = strings.NewReplacer("/backup", filepath.Join(r.dir, "backup"), "/var/lib/stavily", r.dir)
	_, section, _ := strings.Cut(repository(t, "docs/operate.md"), "## Back up\n")
	blocks := block.FindAllStringSubmatch(section, 3) // the second one needs somebody's key
	typeBlock := func(text string) {
		for line := range strings.Lines(text) {
			r.sh(strings.TrimSpace(line))
		}
	}
	typeBlock(blocks[0][2])
	later := r.agent("later", api.Sensor, nil, nil)
	r.must(r.Process(cluster.ServerName).Stop())
	typeBlock(blocks[2][2])
	stopped := time.Now()
	r.must(r.StartServer(r.ctx))
	r.await("web-01 to go on", func() error {
		a := cli[struct {
			LastSeen time.Time `json:"last_seen"`
		}](r.world, "agents", "show", readmeSensor)
		if a.LastSeen.Before(stopped) {
			return fmt.Errorf("last seen at %v", a.LastSeen)
		}
		return nil
	})
	inBackground(t, r.shell(context.Background(), "env STAVILY_HEALTH_PORT=0 STAVILY_METRICS_PORT=0 sensor-agent --config "+filepath.Join(later.Base, "config", "agent.yaml")))
	r.await("later to say that it is not known", func() error {
		text, err := r.shell(r.ctx, "sensor-agent health --ready --agent-id later").Output()
		if err == nil || !strings.Contains(string(text), "No agent later is enrolled") {
			return fmt.Errorf("%v: %s", err, text)
		}
		return nil
	})
}

// The development samples start their agents as README says, on a machine of which only
// the ports and the directory are other ones (R010).
func TestSamplesStart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	for _, kind := range []string{"sensor", "action"} {
		base := filepath.Join(t.TempDir(), "base")
		sample := filepath.Join(root, "configs", "dev-"+kind+".yaml")
		w := &world{t: t, ctx: t.Context(), Cluster: cluster.New(cluster.Options{Dir: t.TempDir(), Bin: binDir})}
		r := &reader{world: w, here: strings.NewReplacer()}
		start := r.shell(context.Background(), kind+"-agent --config "+sample)
		start.Env = append(start.Env, "STAVILY_BASE_DIR="+base)
		inBackground(t, start)
		w.await(kind+" agent", func() error {
			ask := r.shell(t.Context(), kind+"-agent health --config "+sample)
			ask.Env = append(ask.Env, "STAVILY_BASE_DIR="+base)
			out, err := ask.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "not_enrolled") {
				return fmt.Errorf("%v: %s", err, out)
			}
			return nil
		})
	}
}

// An agent that listens to nobody does its work: its connections all go out (R116, R170).
func TestAnAgentNeedsNoListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.agent("quiet", api.Sensor, nil, map[string]string{"beat": "plugin: heartbeat\ninterval: 1s\n"})
	r := &reader{world: w, here: strings.NewReplacer()}
	inBackground(t, r.shell(context.Background(), "env STAVILY_HEALTH_ENABLED=false STAVILY_METRICS_ENABLED=false sensor-agent --config "+filepath.Join(a.Base, "config", "agent.yaml")))
	w.await("an event of the agent", func() error {
		if len(w.events()) == 0 {
			return fmt.Errorf("none yet: %+v", cli[agentWithHealth](w, "agents", "show", "quiet"))
		}
		return nil
	})
	for _, name := range []string{"health.addr", "metrics.addr"} {
		if exists(t, a.Base, "data", "state", name) {
			t.Errorf("%s says that something is listened to", name)
		}
	}
}
