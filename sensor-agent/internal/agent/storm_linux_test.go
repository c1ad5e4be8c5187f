package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/census"
	"github.com/stavily/agents/shared/pkg/api"
)

// numbered reports one event at each look, whose numbers go on over all its processes
// and versions: one that is missing in the end was lost.
const numbered = `
path = os.path.join(os.environ["HOME"], "n")
def look(_):
    n = int(open(path).read()) + 1 if os.path.exists(path) else 1
    with open(path + ".new", "w") as f:
        f.write(str(n))
    os.rename(path + ".new", path)
    time.sleep(0.05) # in which a reload may come: the number is given and not yet told
    return event("storm.%d" % n)
serve(look)
`

// reloads is how many the storm has: STAVILY_RELOADS (make reload-storm), or few.
func reloads(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("STAVILY_RELOADS"))
	if err != nil {
		return 12
	}
	t.Logf("%d reloads, half of them invalid", n)
	return n
}

// storm changes a plugin again and again, every second time to something that cannot be
// used, and awaits each time what the agent makes of it.
func (r *run) storm(manifest, program string, from, to int) {
	r.t.Helper()
	dir := filepath.Join(r.base, "data", "plugins", "storm")
	for i := from; i <= to; i++ {
		mark := fmt.Sprintf("bad-%d-", i)
		if i%2 == 1 {
			version := fmt.Sprintf("1.3.%d", i)
			write(r.t, filepath.Join(dir, "main.py"), program+"# "+version+"\n")
			write(r.t, filepath.Join(dir, "plugin.yaml"), strings.Replace(manifest, "1.2.0", version, 1))
			r.o.latest("version "+version, func(b api.Heartbeat) bool {
				return len(b.Plugins) == 1 && b.Plugins[0].Version == version && b.Plugins[0].State == "ready"
			})
			continue
		}
		switch i / 2 % 3 {
		case 0: // no manifest
			write(r.t, filepath.Join(dir, "plugin.yaml"), strings.Replace(manifest, "1.2.0", mark, 1))
		case 1: // a program that does not start
			write(r.t, filepath.Join(dir, "main.py"), "raise SystemExit('"+mark+"')\n")
			write(r.t, filepath.Join(dir, "plugin.yaml"), strings.Replace(manifest, "1.2.0", "1.3.0", 1))
		case 2: // a file that is not there
			write(r.t, filepath.Join(dir, "plugin.yaml"), strings.Replace(manifest, "main.py", mark+".py", 1))
		}
		r.o.latest("the refusal of "+mark, func(b api.Heartbeat) bool {
			for _, c := range b.Health.Conditions {
				if c.Name == "plugin_storm" && strings.Contains(c.Message, mark) && strings.Contains(c.Message, "goes on") {
					return true
				}
			}
			return false
		})
	}
}

// latest awaits a heartbeat that says so.
func (o *orchestrator) latest(what string, fits func(api.Heartbeat) bool) {
	o.t.Helper()
	o.until(what, func() bool {
		n := len(o.beats)
		return n > 0 && fits(o.beats[n-1])
	})
	o.change(func() { o.beats = o.beats[len(o.beats)-1:] })
}

// count is what the agent holds, once it holds still.
func (r *run) count() census.Count {
	r.t.Helper()
	var before census.Count
	await(r.t, "an agent that holds still", func() bool {
		addr, err := os.ReadFile(filepath.Join(r.base, "data", "state", "metrics.addr"))
		if err != nil {
			return false
		}
		time.Sleep(200 * time.Millisecond)
		now, err := census.Of(r.t.Context(), r.cmd.Process.Pid, strings.TrimSpace(string(addr)))
		same := err == nil && now == before
		before = now
		return same
	})
	return before
}

// A thousand reloads under load, half of them invalid: no event is lost, and nothing is
// left of them.
func TestReloadStorm(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"storm": numbered}, "")
	r.env = []string{"STAVILY_METRICS_ENABLED=true", "STAVILY_METRICS_PORT=0", "STAVILY_SECURITY_SANDBOX_LEVEL=full"}
	r.start()
	dir := filepath.Join(r.base, "data", "plugins", "storm")
	manifest, program := readFile(t, filepath.Join(dir, "plugin.yaml")), readFile(t, filepath.Join(dir, "main.py"))
	r.storm(manifest, program, 1, 5) // whatever is made once and kept
	r.o.await("storm.10")
	before := r.count()
	r.storm(manifest, program, 6, 5+reloads(t))
	after := r.count()
	t.Logf("before: %v; after: %v", before, after)
	if after.Goroutines > before.Goroutines+2 || after.Descriptors > before.Descriptors+2 || after.Processes > before.Processes {
		t.Errorf("before the agent held %v, and then %v", before, after)
	}
	// Its monitor ends in order: the end of the agent waits for no look.
	write(t, filepath.Join(r.base, "config", "plugins", "storm.yaml"), "{plugin: storm, enabled: false}")
	o.latest("the end of the monitor", func(b api.Heartbeat) bool { return len(b.Monitors) == 0 })
	await(t, "the end of its process", func() bool { return len(census.Below(r.cmd.Process.Pid)) == 0 })
	same(t, "exit code", 0, r.stop())
	if below := census.Below(r.cmd.Process.Pid); len(below) > 0 {
		t.Errorf("processes %v are left", below)
	}
	for dir, most := range map[string]int{"tmp": 0, "data/cache/plugins/storm": 3 + 2} { // versions, the link, the state
		if entries, err := os.ReadDir(filepath.Join(r.base, dir)); err != nil || len(entries) > most {
			t.Errorf("%s holds %v, %v; at most %d", dir, entries, err, most)
		}
	}
	r.start() // and sends what waited
	last, err := strconv.Atoi(readFile(t, filepath.Join(r.base, "data", "state", "plugins", "storm", "n")))
	if err != nil {
		t.Fatal(err)
	}
	o.await(fmt.Sprintf("storm.%d", last))
	have := map[string]bool{}
	for _, name := range o.types() {
		have[name] = true
	}
	for i := 1; i <= last; i++ {
		if !have[fmt.Sprintf("storm.%d", i)] {
			t.Errorf("event %d of %d was lost", i, last)
		}
	}
	t.Logf("%d events, all of which arrived", last)
}
