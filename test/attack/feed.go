//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// probe is one attack as the plugin lists it.
type probe struct {
	Name    string `json:"name"`
	Theme   string `json:"theme"`
	About   string `json:"about"`
	Control string `json:"control"` // works, or who refuses it without a sandbox
	Kind    string `json:"kind"`
	Order   int    `json:"order"`
}

const works = "works"

// supervised is the control of what the agent itself watches, which looks from time to time.
const supervised = "the agent's supervision, which holds in every level"

// listProbes asks the plugin's code.
func listProbes(ctx context.Context, python string) ([]probe, error) {
	dir, err := os.MkdirTemp("", "stavily-probes-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	tree, err := pluginTree("attacker")
	if err == nil {
		err = os.CopyFS(filepath.Join(dir, "attacker"), tree)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, said := limits.NewBuffer(1<<20), limits.NewBuffer(16<<10)
	cmd := exec.CommandContext(ctx, python, "-B", "-m", "probes")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(dir, "attacker"), out, said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("list the probes: %w: %s", err, said.Bytes())
	}
	var probes []probe
	return probes, json.Unmarshal(out.Bytes(), &probes)
}

// operators asks the orchestrator what became of the runs.
type operators struct{ http http.Client }

func newOperators(socket string) *operators {
	o := &operators{http: http.Client{Timeout: time.Minute}}
	o.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return o
}

func (o *operators) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://stavily"+path, nil)
	if err != nil {
		return err
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return limits.DecodeJSON(resp.Body, 64<<20, out)
}

// record is what the orchestrator keeps of one.
type record struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Key    string `json:"key"` // of its event: the sensor and the probe, each quoted
	Steps  []struct {
		Message string      `json:"message"`
		Result  *api.Result `json:"result"`
	} `json:"steps"`
}

func (r record) over() bool {
	return r.Status == "completed" || r.Status == "failed" || r.Status == "cancelled"
}

// order is what the feeder emits.
type order struct {
	Kind  string `json:"kind"`
	Probe string `json:"probe"`
	Bait  bait   `json:"bait"`
}

func (w *host) feederHome() string {
	return filepath.Join(w.sensor.Base, "data", "state", "plugins", "feeder")
}

// feed hands probes to the feeder.
func (w *host) feed(probes ...probe) error {
	orders := make([]order, len(probes))
	for i, p := range probes {
		orders[i] = order{p.Kind, p.Name, w.bait}
	}
	w.fed++
	path := filepath.Join(w.feederHome(), fmt.Sprintf("%03d", w.fed))
	return errors.Join(os.WriteFile(path+".new", mustJSON(orders), 0o600), os.Rename(path+".new", path+".json"))
}

// await waits until the runs of the probes are over and remembers them. then, unless
// nil, is called at the end of each.
func (w *host) await(probes []probe, then func(probe)) error {
	open := slices.Clone(probes)
	for len(open) > 0 {
		var runs []record
		if err := w.operators.get(w.ctx, "/api/v1/runs?limit=500", &runs); err != nil {
			return err
		}
		for _, r := range runs {
			i := slices.IndexFunc(open, func(p probe) bool { return strings.HasSuffix(r.Key, strconv.Quote(p.Name)) })
			if i < 0 || !r.over() {
				continue
			}
			var whole record
			if err := w.operators.get(w.ctx, "/api/v1/runs/"+r.ID, &whole); err != nil {
				return err
			}
			w.ended[open[i].Name] = whole
			if then != nil {
				then(open[i])
			}
			open = slices.Delete(open, i, i+1)
		}
		if err := w.pause(50 * time.Millisecond); err != nil && len(open) > 0 {
			return fmt.Errorf("%d runs are not over, of them %s: %w", len(open), open[0].Name, err)
		}
	}
	return nil
}

func (w *host) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// of gives the probes of a kind that were asked for.
func (w *host) of(kind string) []probe {
	return slices.DeleteFunc(slices.Clone(w.probes), func(p probe) bool {
		return p.Kind != kind || len(w.Probes) > 0 && kind != "victim" && !slices.Contains(w.Probes, p.Name)
	})
}

// letLoose runs all probes: those that wait for their time limit beside those that
// do not mind company, each of the others alone, and the one that outlives the agent
// at the end.
func (w *host) letLoose() error {
	victim, quick, short := w.of("victim"), w.of("quick"), w.of("short")
	slices.Reverse(short) // what takes a whole processor comes last
	if err := w.feed(victim...); err != nil {
		return err
	}
	if err := w.findVictim(); err != nil {
		return err
	}
	for some := range slices.Chunk(short, 3) {
		if err := errors.Join(w.feed(some...), w.awaitSeen(some)); err != nil {
			return err
		}
	}
	w.bait.KeeperPIDs = w.keepers()
	// Warm processes of the plugin are there by now, with the view that they began with.
	w.bait.LateSocket = filepath.Join(w.dir, "run", "late.sock")
	if _, err := w.hearStream("unix", w.bait.LateSocket, w.note); err != nil {
		return err
	}
	if err := w.feed(quick...); err != nil {
		return err
	}
	if err := w.await(quick, nil); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.attackerHome(), "victim-stop"), nil, 0o600); err != nil {
		return err
	}
	if err := w.await(append(victim, short...), w.afterwards); err != nil {
		return err
	}
	for _, p := range w.of("alone") {
		if err := w.feed(p); err != nil {
			return err
		}
		before := highWater(w.bait.AgentPID)
		w.seen.peak()
		if err := w.await([]probe{p}, w.afterwards); err != nil {
			return err
		}
		w.grown[p.Name] = highWater(w.bait.AgentPID) - before
	}
	if err := w.soon(w.buried); err != nil {
		return err
	}
	return w.outlive(w.of("last"))
}

// buried notes the children that the agent leaves dead.
func (w *host) buried() bool {
	w.report.Zombies = zombies(w.bait.AgentPID)
	return len(w.report.Zombies) == 0
}

// awaitSeen waits until the processes of the probes are there, before the others take
// the processor from them: their time limit runs from their start.
func (w *host) awaitSeen(short []probe) error {
	unseen := func(p probe) bool { return w.seen.most(strays[p.Name]) == 0 }
	return w.soon(func() bool { return !slices.ContainsFunc(short, unseen) })
}

// soon waits some seconds for what is true then, or is judged later.
func (w *host) soon(is func() bool) error {
	for end := time.Now().Add(shortLimit); !is() && time.Now().Before(end); {
		if err := w.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// shortLimit is the time limit of the workflow attack-short.
const shortLimit = 6 * time.Second

func (w *host) attackerHome() string {
	return filepath.Join(w.action.Base, "data", "state", "plugins", "attacker")
}

// findVictim waits until the run that others attack is there.
func (w *host) findVictim() error {
	for {
		if _, pids := marked("atk-victim"); len(pids) > 0 {
			w.bait.VictimPID = pids[0]
			w.bait.OtherSockets, _ = filepath.Glob(filepath.Join(w.action.Base, "tmp", "run-*", "s"))
			return nil
		}
		if err := w.pause(20 * time.Millisecond); err != nil {
			return fmt.Errorf("wait for the victim: %w", err)
		}
		var runs []record
		if err := w.operators.get(w.ctx, "/api/v1/runs?limit=5", &runs); err == nil && len(runs) > 0 && runs[0].over() {
			w.operators.get(w.ctx, "/api/v1/runs/"+runs[0].ID, &runs[0])
			return fmt.Errorf("the victim ended at once: %s", mustJSON(runs[0]))
		}
	}
}

// afterwards looks at what a probe left, within the second that it may take to go.
func (w *host) afterwards(p probe) {
	if name, watched := strays[p.Name]; watched {
		w.strayed[p.Name] = w.left(name)
	}
	if p.Theme == "processes" {
		w.memory[p.Name] = w.seen.peak()
	}
}

// goneWithin is what the acceptance of the sandbox allows for all of a tree to end.
const goneWithin = time.Second

// left counts the processes of a name that still live when their time is up.
func (w *host) left(name string) int {
	deadline := time.Now().Add(goneWithin)
	for {
		n, _ := marked(name)
		if n == 0 || time.Now().After(deadline) {
			return n
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outlive kills the agent under a probe.
func (w *host) outlive(probes []probe) error {
	for _, p := range probes {
		if err := w.feed(p); err != nil {
			return err
		}
		for n := 0; n < 2; n, _ = marked(strays[p.Name]) { // the run itself and its daemon
			if err := w.pause(20 * time.Millisecond); err != nil {
				return fmt.Errorf("wait for %s: %w", p.Name, err)
			}
		}
		w.seen.note(map[string]int{strays[p.Name]: 2}, 0)
		w.Kill(actionAgent)
		w.strayed[p.Name] = w.left(strays[p.Name])
	}
	return nil
}

// textOf finds where a process's program begins in its memory.
func textOf(pid int) (int64, error) {
	text, err := limits.ReadFile(fmt.Sprintf("/proc/%d/maps", pid), 1<<20)
	if err != nil {
		return 0, err
	}
	from, _, _ := bytes.Cut(text, []byte("-"))
	var address int64
	_, err = fmt.Sscanf(string(from), "%x", &address)
	return address, err
}
