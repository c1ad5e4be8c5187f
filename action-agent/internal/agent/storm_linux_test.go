package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/internal/census"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	stormManifest = "{id: storm, version: %s, type: action, runtime: {type: python, entry_point: %s, contract: stdio}}"
	stormProgram  = `
import time
import stavily
@stavily.action
def act(params, ctx):
    time.sleep(0.02)
    return "%s"
if __name__ == "__main__":
    stavily.run()
`
)

// reloads is how many the storm has: STAVILY_RELOADS (make reload-storm), or few.
func reloads(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("STAVILY_RELOADS"))
	if err != nil {
		return 12
	}
	t.Logf("%d reloads, half of them invalid", n)
	return n
}

func (r *run) writeStorm(version, entry, program string) {
	r.t.Helper()
	dir := filepath.Join(r.base, "data", "plugins", "storm")
	write(r.t, filepath.Join(dir, "main.py"), program)
	write(r.t, filepath.Join(dir, "plugin.yaml"), fmt.Sprintf(stormManifest, version, entry))
}

// storm changes a plugin again and again, every second time to something that cannot be
// used, and awaits each time what the agent makes of it.
func (r *run) storm(from, to int) {
	r.t.Helper()
	for i := from; i <= to; i++ {
		mark, version := fmt.Sprintf("bad-%d-", i), fmt.Sprintf("1.3.%d", i)
		if i%2 == 1 {
			r.writeStorm(version, "main.py", fmt.Sprintf(stormProgram, version))
			r.latest("version "+version, func(b api.Heartbeat) bool {
				return len(b.Plugins) == 1 && b.Plugins[0].Version == version && b.Plugins[0].State == "ready"
			})
			continue
		}
		switch i / 2 % 3 {
		case 0: // no manifest
			r.writeStorm(mark, "main.py", "")
		case 1: // a program that does not start
			r.writeStorm(version, "main.py", "raise SystemExit('"+mark+"')\n")
		case 2: // a file that is not there
			r.writeStorm(version, mark+".py", "")
		}
		r.latest("the refusal of "+mark, func(b api.Heartbeat) bool {
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
func (r *run) latest(what string, fits func(api.Heartbeat) bool) {
	r.t.Helper()
	r.o.until(what, func() bool {
		r.o.mu.Lock()
		defer r.o.mu.Unlock()
		n := len(r.o.beats)
		return n > 0 && fits(r.o.beats[n-1])
	})
	r.o.change(func() { r.o.beats = r.o.beats[len(r.o.beats)-1:] })
}

// load keeps a few instructions under way until it is told to stop, and says how many
// there were.
func (o *orchestrator) load(first int) (stop func() (last int)) {
	end := make(chan struct{})
	var feeding sync.WaitGroup
	last := first - 1
	feeding.Go(func() {
		for {
			o.mu.Lock()
			changed, results := o.changed, 0
			for _, c := range o.calls {
				if c.Kind == result {
					results++
				}
			}
			o.mu.Unlock()
			if last-results < 3 {
				last++
				o.offer(order(fmt.Sprintf("storm-%d", last), "storm"))
				continue
			}
			select {
			case <-end:
				return
			case <-changed:
			}
		}
	})
	return func() int { close(end); feeding.Wait(); return last }
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
		time.Sleep(300 * time.Millisecond)
		now, err := census.Of(r.t.Context(), r.cmd.Process.Pid, strings.TrimSpace(string(addr)))
		same := err == nil && now == before
		before = now
		return same
	})
	return before
}

// settled has the instructions end that are under way, and a warm process stand ready,
// which one more run asks for.
func (r *run) settled(last int) (census.Count, int) {
	r.t.Helper()
	last++
	r.o.offer(order(fmt.Sprintf("storm-%d", last), "storm"))
	for i := 1; i <= last; i++ {
		r.o.outcome(api.InstructionID(fmt.Sprintf("storm-%d", i)), api.Completed)
	}
	await(r.t, "a warm process", func() bool { return len(census.Below(r.cmd.Process.Pid)) > 0 })
	return r.count(), last
}

// A thousand reloads under load, half of them invalid: no instruction is lost or run by
// what is invalid, and nothing is left of them.
func TestReloadStorm(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, nil, "")
	r.env = []string{"STAVILY_METRICS_ENABLED=true", "STAVILY_METRICS_PORT=0", "STAVILY_SECURITY_SANDBOX_LEVEL=full"}
	r.writeStorm("1.0.0", "main.py", fmt.Sprintf(stormProgram, "1.0.0"))
	r.start()
	stop := o.load(1)
	r.storm(1, 5) // whatever is made once and kept
	o.outcome("storm-10", api.Completed)
	before, last := r.settled(stop())
	stop = o.load(last + 1)
	r.storm(6, 5+reloads(t))
	after, last := r.settled(stop())
	t.Logf("before: %v; after: %v; %d instructions, all of which completed", before, after, last)
	if after.Goroutines > before.Goroutines+3 || after.Descriptors > before.Descriptors+3 || after.Processes > before.Processes {
		t.Errorf("before the agent held %v, and then %v", before, after)
	}
	same(t, "exit code", 0, r.stop())
	for dir, most := range map[string]int{"tmp": 0, "data/cache/plugins/storm": 3 + 2} { // versions, the link, the state
		if entries, err := os.ReadDir(filepath.Join(r.base, dir)); err != nil || len(entries) > most {
			t.Errorf("%s holds %v, %v; at most %d", dir, entries, err, most)
		}
	}
	for i := 1; i <= last; i++ {
		if n := len(o.of(result, api.InstructionID(fmt.Sprintf("storm-%d", i)))); n != 1 {
			t.Errorf("instruction %d has %d results", i, n)
		}
	}
}
