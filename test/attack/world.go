//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	actionAgent = "att-a"
	sensorAgent = "att-s"

	// leakedFD stays clear of the numbers that the runtime and shells use.
	leakedFD = 19
)

// host is the world that the probes attack, seen from outside.
type host struct {
	spec
	ctx  context.Context
	dir  string // everything below it belongs to the agents' user
	home string
	bin  string

	*cluster.Cluster
	action, sensor *cluster.Agent
	operators      *operators
	printed        cluster.LastLines

	bait          bait
	seen          sightings
	temporary     []string // files outside of dir, to be removed
	shm           []byte
	sem           uintptr
	siblingSecret string
	shmSecret     string
	messageSecret string

	probes []probe
	fed    int
	ended  map[string]record // by probe
	// By probe: by how much the agent's memory grew, how much the probe took, and how
	// many of its processes lived on.
	grown, memory map[string]int64
	strayed       map[string]int
	report        worldReport
}

// worldReport is what a world tells the program that started it.
type worldReport struct {
	Posture  *api.Posture `json:"posture"`
	Outcomes []outcome    `json:"outcomes"`
	Zombies  []string     `json:"zombies"` // dead children that the agent has not buried
}

// world runs one configuration's probes and writes the report.
func world(args []string) error {
	s, err := readSpec(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w := &host{spec: s, dir: filepath.Join(s.Dir, "w"), ended: map[string]record{}, grown: map[string]int64{}, memory: map[string]int64{}, strayed: map[string]int{}}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(ctx, worldLimit)
	defer cancel()
	err = w.attack()
	for _, path := range w.temporary {
		os.RemoveAll(path)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, w.printed.String())
	}
	return os.WriteFile(filepath.Join(s.Dir, reportFile), mustJSON(w.report), 0o644)
}

func (w *host) attack() error {
	var err error
	if w.probes, err = listProbes(w.ctx, w.Python); err != nil {
		return err
	}
	defer w.stopCluster()
	for _, do := range []func() error{w.lay, w.startAgents, w.letLoose, w.judge} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// lay prepares everything that is there before the agents are.
func (w *host) lay() error {
	w.home, w.bin = filepath.Join(w.dir, "home"), filepath.Join(w.dir, "bin")
	w.bait = bait{Mark: "mark" + secret("")[len("secret-of--"):], Sandbox: w.Level, Token: secret("environment"), LeakedFD: leakedFD}
	w.bait.LeakedSecret, w.bait.VictimSecret = secret("descriptor"), secret("victim")
	w.bait.MemoryLimit, w.bait.ProcessLimit, w.bait.TempBytes, w.bait.TempFiles = memoryLimit, processLimit, tempBytes, tempFiles
	var errs []error
	for _, dir := range []string{w.home, w.bin, filepath.Join(w.dir, "run"), filepath.Join(w.dir, "c")} {
		errs = append(errs, os.MkdirAll(dir, 0o700))
	}
	for _, name := range []string{"stavily", "sensor-agent", "action-agent"} {
		errs = append(errs, copyProgram(filepath.Join(w.Bin, name), filepath.Join(w.bin, name)))
	}
	leak := filepath.Join(w.dir, "leak")
	errs = append(errs, write(leak, w.bait.LeakedSecret))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w.Cluster = cluster.New(cluster.Options{
		Dir: filepath.Join(w.dir, "c"), Bin: w.bin, Log: w.printed.Add, Env: w.environment(),
		Wrap: []string{"/bin/bash", "-c", fmt.Sprintf(`exec %d<"$0"; exec "$@"`, leakedFD), leak},
	})
	return errors.Join(w.startSibling(), w.shareMemory(), w.listen())
}

// environment configures the agents: what a careful owner sets, and the level.
func (w *host) environment() []string {
	settings := map[string]string{
		"API_RATE_LIMIT_REQUESTS_PER_SECOND": "1000",
		"API_RATE_LIMIT_BURST":               "2000",
		"API_MAX_CONCURRENT":                 "16",
		"PLUGINS_PYTHON_INTERPRETER":         w.Python,
		"SECURITY_SANDBOX_REQUIRE":           w.Level,
		"SECURITY_SANDBOX_LEVEL":             cmp.Or(w.Most, w.Level),
		"SECURITY_SANDBOX_MAX_PROCESSES":     fmt.Sprint(processLimit),
		"SECURITY_SANDBOX_MAX_TEMP":          fmt.Sprint(tempBytes),
		// Where destinations cannot be told apart, a plugin that declares one runs all the same.
		"SECURITY_SANDBOX_ALLOW_PORT_LEVEL_EGRESS": "true",
	}
	out := []string{"CLOUD_TOKEN=" + w.bait.Token, "HOME=" + w.home, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	for key, value := range settings {
		out = append(out, "STAVILY_"+key+"="+value)
	}
	slices.Sort(out)
	return out
}

func (w *host) startAgents() error {
	if err := w.StartServer(w.ctx); err != nil {
		return err
	}
	w.operators = newOperators(filepath.Join(w.DataDir(), "operator.sock"))
	var err error
	if w.action, err = w.add(actionAgent, api.Action, "attacker", "neighbour"); err != nil {
		return err
	}
	if err := w.grant(); err != nil {
		return err
	}
	if w.sensor, err = w.add(sensorAgent, api.Sensor, "feeder"); err != nil {
		return err
	}
	err = errors.Join(
		w.layFiles(),
		w.sensor.Configure("feeder", "plugin: feeder\ninterval: 100ms\n"),
		os.MkdirAll(w.feederHome(), 0o700),
	)
	if err != nil {
		return err
	}
	if err := w.apply(); err != nil {
		return err
	}
	for _, id := range []api.AgentID{actionAgent, sensorAgent} {
		if err := w.StartAgent(w.ctx, id); err != nil {
			return err
		}
	}
	return w.look()
}

// grant writes what the configuration gives the attacker into its manifest.
func (w *host) grant() error {
	if w.Grants == "" {
		return nil
	}
	path := filepath.Join(w.action.Base, "data", "plugins", "attacker", "plugin.yaml")
	manifest, err := limits.ReadFile(path, 64<<10)
	if err != nil {
		return err
	}
	without, _, found := strings.Cut(string(manifest), "permissions:")
	if !found {
		return fmt.Errorf("%s: has no permissions to replace", path)
	}
	return os.WriteFile(path, []byte(without+"permissions: "+w.Grants+"\n"), 0o600)
}

func (w *host) add(id api.AgentID, typ api.AgentType, plugins ...string) (*cluster.Agent, error) {
	a, err := w.AddAgent(w.ctx, id, typ)
	for _, name := range plugins {
		tree, treeErr := pluginTree(name)
		err = errors.Join(err, treeErr)
		if err == nil {
			err = os.CopyFS(filepath.Join(a.Base, "data", "plugins", name), tree)
		}
	}
	return a, err
}

// look finds what exists only now that the agents run.
func (w *host) look() error {
	b := &w.bait
	b.AgentPID = w.Process(actionAgent).Pid()
	b.Journal, b.Log = first(filepath.Join(b.Base, "data", "journal", "*")), filepath.Join(b.Base, "logs", "agent.log")
	b.ServerDB = first(filepath.Join(w.DataDir(), "*.db"))
	b.OperatorSocket, b.Server = filepath.Join(w.DataDir(), "operator.sock"), strings.TrimPrefix(w.URL(), "https://")
	var err error
	if b.Health, err = w.action.Endpoint("health"); err != nil {
		return err
	}
	if b.AgentText, err = textOf(b.AgentPID); err != nil {
		return err
	}
	for name, found := range map[string]string{"key": b.Key, "journal": b.Journal, "database": b.ServerDB} {
		if found == "" {
			return fmt.Errorf("the bait lacks the %s: its place has changed", name)
		}
	}
	sockets := filepath.Join(w.sensor.Base, "tmp", "run-feeder-*", "s")
	for end := time.Now().Add(cluster.Deadline); len(b.SensorSockets) == 0; {
		if err := w.pause(20 * time.Millisecond); err != nil || time.Now().After(end) {
			return errors.Join(errors.New("the feeder does not run"), err)
		}
		b.SensorSockets, _ = filepath.Glob(sockets)
	}
	go w.watch()
	go w.visit()
	return w.ctx.Err()
}

// keepers are other processes of the action agent's program.
func (w *host) keepers() (pids []int) {
	for _, p := range processes() {
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid))
		if err == nil && path == w.bait.AgentProgram && p.pid != w.bait.AgentPID {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// stopCluster ends what runs, the agents in order: their exit codes count.
func (w *host) stopCluster() {
	if w.Cluster != nil {
		if err := w.Close(); err != nil {
			w.printed.Add("attack", err.Error())
		}
	}
}

const workflows = `name: attack
triggers:
  - event: attack.quick
  - event: attack.alone
  - event: attack.last
actions:
  - id: go
    plugin: attacker
    with: {probe: "${{ event.data.probe }}", bait: "${{ event.data.bait }}"}
    timeout: 60s
---
name: attack-short
triggers:
  - event: attack.short
actions:
  - id: go
    plugin: attacker
    with: {probe: "${{ event.data.probe }}", bait: "${{ event.data.bait }}"}
    timeout: 6s
---
name: attack-victim
triggers:
  - event: attack.victim
actions:
  - id: go
    plugin: attacker
    with: {probe: "${{ event.data.probe }}", bait: "${{ event.data.bait }}"}
    timeout: 110s
`

func (w *host) apply() error {
	for i, text := range strings.Split(workflows, "---\n") {
		file := filepath.Join(w.dir, fmt.Sprintf("workflow-%d.yaml", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		if _, err := w.CLI(w.ctx, "workflows", "apply", "-f", file); err != nil {
			return err
		}
	}
	return nil
}
