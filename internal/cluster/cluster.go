package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/plugins"
	"github.com/stavily/agents/shared/pkg/api"
)

// Options of New.
type Options struct {
	Dir  string   // everything is made below it; it must exist
	Bin  string   // directory of the three programs
	Log  LogFunc  // gets every line that a process prints; may be nil
	Args []string // further arguments of `stavily server`
	Env  []string // further variables of every process, NAME=value
	Wrap []string // command line that each server and agent is started by, which execs what follows it; may be empty
}

// LogFunc is told a line that the named process printed.
type LogFunc func(process, line string)

// Agent is one enrolled agent of the cluster.
type Agent struct {
	ID   api.AgentID
	Type api.AgentType
	Base string // its base directory
}

// Cluster is a server and its agents. See the package documentation.
type Cluster struct {
	opts Options
	addr string // host:port of the agent listener, from the first start on

	mu      sync.Mutex // guards the fields below
	agents  map[api.AgentID]*Agent
	running map[string]*Process
}

// ServerName is the server's name among the cluster's processes.
const ServerName = "server"

// New prepares a cluster and starts nothing.
func New(o Options) *Cluster {
	if o.Log == nil {
		o.Log = func(string, string) {}
	}
	return &Cluster{opts: o, agents: map[api.AgentID]*Agent{}, running: map[string]*Process{}}
}

// freePort finds a port that is free now. The server is restarted on the same one,
// so it cannot simply bind port 0 each time.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// URL is where agents reach the server.
func (c *Cluster) URL() string { return "https://" + c.addr }

// DataDir is the server's directory.
func (c *Cluster) DataDir() string { return filepath.Join(c.opts.Dir, "server") }

// Agent returns an agent that AddAgent made, or nil.
func (c *Cluster) Agent(id api.AgentID) *Agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[id]
}

// Process returns a running process by name ([ServerName] or an agent's id), or nil.
func (c *Cluster) Process(name string) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[name]
}

func (c *Cluster) program(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(c.opts.Bin, name)
}

// environment is what the children see: nothing named STAVILY_ of the caller's, and
// free ports for probes.
func (c *Cluster) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "STAVILY_") })
	env = append(env, "STAVILY_HEALTH_PORT=0", "STAVILY_HEALTH_BIND=127.0.0.1", "STAVILY_METRICS_PORT=0",
		// In a container, where only ports can be told apart, outputs reach their receiver all the same.
		"STAVILY_SECURITY_SANDBOX_ALLOW_PORT_LEVEL_EGRESS=true")
	return append(env, c.opts.Env...)
}

func (c *Cluster) spawn(name, program string, args ...string) (*Process, error) {
	line := append(slices.Clone(c.opts.Wrap), append([]string{c.program(program)}, args...)...)
	p, err := start(name, &lineWriter{name: name, log: c.opts.Log}, line[0], line[1:], c.environment())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[name] = p
	return p, nil
}

// portTries is how often the first start looks for a port: between the moment that one
// was free and the server's bind another process can take it.
const portTries = 5

// StartServer starts the server, or starts it again on the same port, and waits until
// it answers.
func (c *Cluster) StartServer(ctx context.Context) error {
	if c.addr != "" {
		return c.startServer(ctx)
	}
	var err error
	for range portTries {
		if c.addr, err = freePort(); err != nil {
			return err
		}
		if err = c.startServer(ctx); !errors.Is(err, errEnded) {
			return err
		}
	}
	return err
}

func (c *Cluster) startServer(ctx context.Context) error {
	args := append([]string{"server", "--data-dir", c.DataDir(), "--listen", c.addr, "--web-listen", "127.0.0.1:0", "--hostname", "127.0.0.1"}, c.opts.Args...)
	p, err := c.spawn(ServerName, "stavily", args...)
	if err != nil {
		return err
	}
	return await(ctx, p, "wait for the server", func() bool {
		_, err := c.CLI(ctx, "agents", "list", "--limit", "1", "-o", "json")
		return err == nil
	})
}

// maxOutput bounds what is kept of a command's output; a run list takes far less.
const maxOutput = 16 << 20

// CLI runs `stavily` with the cluster's data directory and returns what it printed
// on standard output. An error carries its exit status and standard error.
func (c *Cluster) CLI(ctx context.Context, args ...string) ([]byte, error) {
	return c.run(ctx, "stavily", append([]string{"--data-dir", c.DataDir()}, args...)...)
}

func (c *Cluster) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	stdout, stderr := limits.NewBuffer(maxOutput), limits.NewBuffer(64<<10)
	cmd := exec.CommandContext(ctx, c.program(program), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.environment(), stdout, stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// AddAgent enrols an agent with a token of its own, as a person would, and gives
// it the official plugins. Its health and metrics ports are free ones.
func (c *Cluster) AddAgent(ctx context.Context, id api.AgentID, typ api.AgentType) (*Agent, error) {
	return c.AddAgentOf(ctx, "default", id, typ)
}

// AddAgentOf does it for an organisation.
func (c *Cluster) AddAgentOf(ctx context.Context, org api.OrgID, id api.AgentID, typ api.AgentType) (*Agent, error) {
	a := &Agent{ID: id, Type: typ, Base: filepath.Join(c.opts.Dir, "agent-"+string(id))}
	line, err := c.CLI(ctx, "--org", string(org), "tokens", "create", "--type", string(typ), "--agent-id", string(id), "-o", "json")
	if err != nil {
		return nil, err
	}
	var token struct {
		Token         string `json:"token"`
		CAFingerprint string `json:"ca_fingerprint"`
	}
	if err := limits.UnmarshalJSON(line, &token); err != nil {
		return nil, fmt.Errorf("read the token: %w", err)
	}
	if _, err := c.run(ctx, program(typ), "enroll", "--base-url", c.URL(), "--token", token.Token,
		"--ca-fingerprint", token.CAFingerprint, "--agent-id", string(id), "--base-dir", a.Base); err != nil {
		return nil, err
	}
	if err := installOfficial(filepath.Join(a.Base, "data", "plugins"), typ); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.agents[id] = a
	return a, nil
}

func program(typ api.AgentType) string { return string(typ) + "-agent" }

// installOfficial copies the official plugins of an agent's kinds.
func installOfficial(dir string, typ api.AgentType) error {
	kinds := map[api.AgentType][]string{api.Sensor: {"sensors"}, api.Action: {"actions", "outputs"}}[typ]
	for _, kind := range kinds {
		entries, err := plugins.Official.ReadDir(kind)
		if err != nil {
			return fmt.Errorf("list the official plugins: %w", err)
		}
		for _, e := range entries {
			tree, err := fs.Sub(plugins.Official, path.Join(kind, e.Name()))
			if err != nil {
				return err
			}
			if err := os.CopyFS(filepath.Join(dir, e.Name()), tree); err != nil {
				return fmt.Errorf("install plugin %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}

// Configure writes one file of an agent's config/plugins: a monitor of a sensor
// agent, or what an action agent's owner grants a plugin.
func (a *Agent) Configure(name, text string) error {
	return os.WriteFile(filepath.Join(a.Base, "config", "plugins", name+".yaml"), []byte(text), 0o600)
}

// StartAgent starts an agent, or starts it again, and waits until it is ready.
func (c *Cluster) StartAgent(ctx context.Context, id api.AgentID) error {
	a := c.Agent(id)
	if a == nil {
		return fmt.Errorf("start agent %s: it was not added", id)
	}
	if err := os.Remove(a.endpoint("health")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start agent %s: %w", id, err)
	}
	p, err := c.spawn(string(id), program(a.Type), "--config", filepath.Join(a.Base, "config", "agent.yaml"))
	if err != nil {
		return err
	}
	return await(ctx, p, "wait for agent "+string(id), a.ready)
}

// endpoint is the file in which an agent records the address of an endpoint.
func (a *Agent) endpoint(name string) string {
	return filepath.Join(a.Base, "data", "state", name+".addr")
}

// Endpoint is the address of the agent's health or metrics endpoint.
func (a *Agent) Endpoint(name string) (string, error) {
	addr, err := limits.ReadFile(a.endpoint(name), 256)
	return string(bytes.TrimSpace(addr)), err
}

var probes = http.Client{Timeout: 5 * time.Second}

func (a *Agent) ready() bool {
	addr, err := a.Endpoint("health")
	if err != nil {
		return false
	}
	answer, err := probes.Get("http://" + addr + "/ready")
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// Kill ends a process as a crash would; Start… begins it again.
func (c *Cluster) Kill(name string) {
	c.mu.Lock()
	p := c.running[name]
	delete(c.running, name)
	c.mu.Unlock()
	if p != nil {
		p.Kill()
	}
}

// Close ends every process of the cluster, agents first. Its error names the ones
// that did not end by themselves with exit code 0.
func (c *Cluster) Close() error {
	c.mu.Lock()
	running := c.running
	c.running = map[string]*Process{}
	c.mu.Unlock()

	server := running[ServerName]
	delete(running, ServerName)
	errs := make(chan error, len(running))
	for _, p := range running {
		go func() { errs <- p.Stop() }()
	}
	var err error
	for range running {
		err = errors.Join(err, <-errs)
	}
	if server != nil {
		err = errors.Join(err, server.Stop())
	}
	return err
}

// lineWriter hands what a child prints to a LogFunc, line by line.
type lineWriter struct {
	name string
	log  LogFunc
	rest []byte
}

// maxLine bounds a line of a child that prints no newline.
const maxLine = 64 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found && len(w.rest) < maxLine {
			return len(p), nil
		}
		w.log(w.name, string(line))
		w.rest = rest
	}
}

var _ io.Writer = (*lineWriter)(nil)

// Deadline is how long a cluster takes at most to come up, on a machine that is
// busy with other things.
const Deadline = 60 * time.Second
