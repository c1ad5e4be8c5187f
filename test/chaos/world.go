package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

//go:embed plugins
var plugins embed.FS

// Who is in the world.
const (
	sensorID   = "chaos-s"
	actionID   = "chaos-a"
	foreignID  = "foreign-s"
	ourOrg     = "default"
	foreignOrg = "foreign"
)

// rule is a workflow of the bench: of which events it takes, and how its actions may run.
type rule struct {
	name       string
	takes      func(number int) bool
	when       string
	acts       bool
	idempotent bool
	within     time.Duration // 0: as long as an action waits at most
	byHand     bool          // and of no event
}

var workflows = []rule{
	{name: "count", takes: func(int) bool { return true }},
	{name: "once", takes: every(10, 0), when: "event.data.n % 10 == 0", acts: true},
	{name: "again", takes: every(10, 5), when: "event.data.n % 10 == 5", acts: true, idempotent: true},
	{name: "soon", takes: every(10, 2), when: "event.data.n % 10 == 2", acts: true, within: 3 * time.Second},
	{name: byHand, takes: func(int) bool { return false }, acts: true, byHand: true},
}

// byHand is the workflow that only the bench itself starts.
const byHand = "byhand"

func every(n, rest int) func(int) bool { return func(number int) bool { return number%n == rest } }

func workflowOf(name string) rule {
	for _, r := range workflows {
		if r.name == name {
			return r
		}
	}
	return rule{}
}

// again reports whether an action of the workflow may be run again once it may have begun.
func again(workflow string) bool { return workflowOf(workflow).idempotent }

// text is the workflow as a document, whose actions take so long.
func (r rule) text(takes time.Duration) string {
	var b strings.Builder
	trigger, where := "event: chaos.tick", ""
	if r.byHand {
		trigger, where = "manual: {}", "agents: {ids: ["+actionID+"]}, "
	}
	fmt.Fprintf(&b, "name: %s\ntriggers: [{%s}]\n", r.name, trigger)
	if r.when != "" {
		fmt.Fprintf(&b, "when: %s\n", r.when)
	}
	if r.within > 0 {
		fmt.Fprintf(&b, "limits: {expires_after: %s}\n", r.within)
	}
	if !r.acts {
		// Nothing is done: that there is one run is all that matters.
		return b.String() + "outputs: [{id: tell, plugin: file, on: [failed], with: {text: never}}]\n"
	}
	fmt.Fprintf(&b, "actions: [{id: work, plugin: chaos-action, %sidempotent: %t, with: {event: '${{ event.id }}', seconds: %g}}]\n", where, r.idempotent, takes.Seconds())
	return b.String()
}

// world is the processes of one scenario.
type world struct {
	*cluster.Cluster
	options
	dir       string
	database  *database
	uncertain bool             // a server's start may fail: its database may be down, or a call of its store fail
	second    *cluster.Cluster // a server on the same database, or nil
	proxies   map[string]*proxy
	operators *operators
	printed   cluster.LastLines
	mounted   []string       // disks of scenario full
	metrics   string         // address of the server's metrics in scenarios full and soak
	signer    *bundle.Signer // of the plugins that operators bring
	pause     time.Duration  // the longest between calls of agents
	takes     time.Duration  // an action
	limit     time.Duration  // of a recovery, in a class of weather
}

// environment is what agents need to carry the load: their usual limits spare a server.
func (w *world) environment() []string {
	return []string{
		"FAILPOINTS=" + filepath.Join(w.dir, pointsName), // which programs without them do not look at
		"STAVILY_PLUGINS_TRUSTED_KEYS=" + filepath.Join(w.dir, releaseKey),
		"STAVILY_PLUGINS_PYTHON_INTERPRETER=" + w.python, "STAVILY_API_MAX_CONCURRENT=8",
		"STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=1000", "STAVILY_API_RATE_LIMIT_BURST=1000",
		"STAVILY_API_RETRY_INITIAL_INTERVAL=100ms", "STAVILY_API_RETRY_MAX_INTERVAL=" + w.pause.String(),
	}
}

// shortAction is how long an action takes, so that there are many.
const shortAction = 10 * time.Millisecond

// socketName is the operators' way in, in a server's data directory.
const socketName = "operator.sock"

// releaseKey is the file with the key that agents trust.
const releaseKey = "release.pub"

// newWorld starts servers, one on SQLite or two on PostgreSQL, and agents.
func newWorld(ctx context.Context, o options, dir string, s scenario) (_ *world, err error) {
	w := &world{
		options: o, dir: dir, proxies: map[string]*proxy{}, uncertain: s.postgres || s.faulty,
		pause: cmp.Or(s.cap, time.Second), takes: cmp.Or(s.takes, shortAction), limit: 2 * s.cap,
	}
	if w.signer, err = bundle.NewKey("chaos"); err != nil {
		return w, err
	}
	if err := os.WriteFile(filepath.Join(dir, releaseKey), []byte(w.signer.Key().Line()+"\n"), 0o600); err != nil {
		return w, err
	}
	args := []string{"--lease", leaseOf(w.limit).String()}
	if s.postgres {
		if w.database, err = startDatabase(ctx, dir); err != nil {
			return w, err
		}
		args = append(args, "--database", w.database.url, "--shared-dir", filepath.Join(dir, "shared"))
	}
	if s.full || s.soak {
		if w.metrics, err = freeAddress(); err != nil {
			return w, err
		}
		args = append(args, "--metrics-listen", w.metrics)
	}
	w.Cluster = cluster.New(cluster.Options{Dir: dir, Bin: o.bin, Log: w.printed.Add, Env: w.environment(), Args: args})
	w.operators = newOperators(filepath.Join(w.DataDir(), socketName))
	if s.full {
		if err := w.smallDisks(); err != nil {
			return w, err
		}
	}
	if err := errors.Join(os.Mkdir(w.ledger(), 0o700), w.StartServer(ctx)); err != nil {
		return w, err
	}
	if s.postgres {
		if err := w.addServer(ctx, args); err != nil {
			return w, err
		}
	}
	for _, r := range workflows {
		if err := w.apply(ctx, ourOrg, r); err != nil {
			return w, err
		}
	}
	return w, errors.Join(w.apply(ctx, foreignOrg, workflows[0]), w.people(ctx))
}

// freeAddress is one that nobody listens at now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// people enrols and starts the agents.
func (w *world) people(ctx context.Context) error {
	for _, a := range []struct {
		id, org, plugin, name, settings string
		typ                             api.AgentType
	}{
		{actionID, ourOrg, "chaos-action", "chaos-action", "plugin: chaos-action\nconfig: {ledger: " + w.ledger() + "}\n", api.Action},
		{sensorID, ourOrg, "chaos-sensor", "chaos", fmt.Sprintf("plugin: chaos-sensor\nconfig: {rate: %g}\n", w.rate), api.Sensor},
		{foreignID, foreignOrg, "chaos-sensor", "chaos", "plugin: chaos-sensor\nconfig: {rate: 5}\n", api.Sensor},
	} {
		agent, err := w.AddAgentOf(ctx, api.OrgID(a.org), api.AgentID(a.id), a.typ)
		if err != nil {
			return err
		}
		if err := w.behindProxy(agent); err != nil {
			return err
		}
		tree, err := fs.Sub(plugins, "plugins/"+a.plugin)
		if err != nil {
			return err
		}
		err = errors.Join(os.CopyFS(filepath.Join(agent.Base, "data", "plugins", a.plugin), tree), agent.Configure(a.name, a.settings))
		if err != nil {
			return err
		}
		if err := w.StartAgent(ctx, agent.ID); err != nil {
			return err
		}
	}
	return nil
}

// maxConfiguration is far more than an enrolment writes.
const maxConfiguration = 64 << 10

// behindProxy lets an agent reach the server through a fault proxy of its own.
func (w *world) behindProxy(a *cluster.Agent) error {
	server := strings.TrimPrefix(w.URL(), "https://")
	servers := []string{server}
	if w.second != nil {
		servers = append(servers, strings.TrimPrefix(w.second.URL(), "https://"))
	}
	p, err := newProxy(servers)
	if err != nil {
		return err
	}
	w.proxies[string(a.ID)] = p
	file := filepath.Join(a.Base, "config", "agent.yaml")
	text, err := limits.ReadFile(file, maxConfiguration)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), server, p.addr())), 0o600)
}

func (w *world) ledger() string { return filepath.Join(w.dir, "ledger") }

// accepted is what the sensor plugin of an agent writes.
func (w *world) accepted(agent string) string {
	return filepath.Join(w.Agent(api.AgentID(agent)).Base, "data", "state", "plugins", "chaos-sensor", "accepted")
}

func (w *world) apply(ctx context.Context, org string, r rule) error {
	file := filepath.Join(w.dir, r.name+".yaml")
	if err := os.WriteFile(file, []byte(r.text(w.takes)), 0o600); err != nil {
		return err
	}
	_, err := w.CLI(ctx, "--org", org, "workflows", "apply", "-f", file)
	return err
}

// silence stops the load, and returns once no monitor runs any more: what is looked at later
// would change under the look.
func (w *world) silence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	for _, id := range []api.AgentID{sensorID, foreignID} {
		a := w.Agent(id)
		if err := os.Remove(filepath.Join(a.Base, "config", "plugins", "chaos.yaml")); err != nil {
			return err
		}
		for runs := true; runs; {
			var err error
			if runs, err = monitors(ctx, a); err != nil && ctx.Err() != nil {
				return fmt.Errorf("the monitor of %s does not end: %w", id, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

var probe = http.Client{Timeout: 5 * time.Second}

// monitors reports whether the agent runs any, also where it does not say.
func monitors(ctx context.Context, a *cluster.Agent) (bool, error) {
	addr, err := a.Endpoint("health")
	if err != nil {
		return true, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return true, err
	}
	answer, err := probe.Do(request)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	var status struct {
		Monitors []api.MonitorInfo `json:"monitors"`
	}
	text, err := limits.ReadAll(answer.Body, 1<<20)
	if err == nil {
		err = limits.UnmarshalJSON(text, &status)
	}
	return err != nil || len(status.Monitors) > 0, err
}

// close ends everything, and says of what did not end by itself.
func (w *world) close() error {
	var err error
	if w.Cluster != nil {
		err = w.Close()
	}
	if w.second != nil {
		err = errors.Join(err, w.second.Close())
	}
	for _, p := range w.proxies {
		p.close()
	}
	return err
}

// leave ends whatever still runs, also where not everything had begun.
func (w *world) leave() {
	_ = w.close() // what fails here was told before
	if w.database != nil {
		w.database.close()
	}
	w.unmount()
}
