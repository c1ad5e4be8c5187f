//go:build unix

package agent

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// givenPosture is a plugin host that found this at its start.
func givenPosture(t *testing.T, p api.Posture, environ ...string) *Plugins {
	rt, _ := testRuntime(t, api.Action, environ...)
	return &Plugins{rt: rt, posture: p}
}

var someTask = Task{Plugin: &plugin.Plugin{Manifest: plugin.Manifest{ID: "p", Kind: plugin.Action}}}

// Destinations are told apart, or come down to ports where the owner accepts it, or
// nothing runs.
func TestNetworkOfTask(t *testing.T) {
	named := grant.Network{Destinations: []destination.Destination{{Host: "b", Port: 2}, {Host: "192.0.2.7", Port: 1}, {Host: "a", Port: 2}}}
	anyHost := grant.Network{Destinations: []destination.Destination{{Host: "a", Port: 3}, {Port: 2}}}
	full, confined := api.Posture{Level: api.SandboxFull, LandlockABI: 7}, api.Posture{Level: api.SandboxConfined, LandlockABI: 4}
	const allowed = "STAVILY_SECURITY_SANDBOX_ALLOW_PORT_LEVEL_EGRESS=true"
	for _, c := range []struct {
		name    string
		posture api.Posture
		environ []string
		asks    grant.Network
		want    string
	}{
		{"nothing", full, nil, grant.Network{}, "{All:false Ports:[] Listen:[]}"},
		{"all", confined, nil, grant.Network{All: true}, "{All:true Ports:[] Listen:[]}"},
		{"told apart", full, []string{allowed}, named, "192.0.2.7 192.0.2.7:1, a 127.0.1.1:2, b 127.0.1.2:2"},
		{"any host", full, nil, anyHost, "plugin p asks for ports 2, 3 of any host: list the hosts under `network` in its file in config/plugins, or set security.sandbox.allow_port_level_egress"},
		{"any host, accepted", full, []string{allowed}, anyHost, "{All:false Ports:[2 3] Listen:[]}"},
		{"confined", confined, nil, named, "plugin p is granted network destinations, which only sandbox full tells apart, and this agent gives confined (`action-agent sandbox check` says what to change; or set security.sandbox.allow_port_level_egress, and it can reach any host on ports 1, 2)"},
		{"confined, accepted", confined, []string{allowed}, named, "{All:false Ports:[1 2] Listen:[]}"},
		{"old kernel", api.Posture{Level: api.SandboxConfined, LandlockABI: 3}, []string{allowed}, named, "plugin p is granted ports 1, 2 of the network and could reach all others on this host, whose kernel tells them apart from Linux 6.7 on (`action-agent sandbox check` says what to change)"},
		{"limited", api.Posture{Level: api.SandboxLimited}, nil, named, "{All:false Ports:[1 2] Listen:[]}"},
	} {
		p := givenPosture(t, c.posture, c.environ...)
		n, _, err := p.network(t.Context(), someTask, c.asks)
		got := fmt.Sprintf("%+v", n)
		if err != nil {
			got = err.Error()
		}
		if len(n.Listen) > 0 {
			var places []string
			for _, l := range n.Listen {
				places = append(places, fmt.Sprintf("%s %s:%d", l.Name, l.Address, l.Port))
			}
			got = strings.Join(places, ", ")
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A run whose destinations are not filtered does not say that they were.
func TestPostureOfRun(t *testing.T) {
	p := givenPosture(t, api.Posture{Level: api.SandboxFull, Achieved: []string{api.AchievedMemory, api.AchievedEgress}})
	for want, n := range map[string]sandbox.Network{
		"full+memory+egress": {Listen: []sandbox.Listen{{}}},
		"full+memory":        {All: true},
	} {
		if got := p.postureOf(n).String(); got != want {
			t.Errorf("%+v: %s, want %s", n, got, want)
		}
	}
	if got := p.postureOf(sandbox.Network{Ports: []uint16{1}}).String(); got != "full+memory" || p.posture.String() != "full+memory+egress" {
		t.Errorf("%s, and the agent's is %s", got, p.posture.String())
	}
}

func TestLimitsOfTask(t *testing.T) {
	p := givenPosture(t, api.Posture{}, "STAVILY_SECURITY_SANDBOX_MAX_CPU=2", "STAVILY_SECURITY_SANDBOX_MAX_PROCESSES=50", "STAVILY_SECURITY_SANDBOX_MAX_TEMP=10MB")
	for _, c := range []struct {
		file     config.PluginFile
		manifest float64
		want     sandbox.Limits
	}{
		{config.PluginFile{}, 0, sandbox.Limits{CPUShare: 2, Processes: 50, TempSize: 10e6}},
		{config.PluginFile{}, 0.1, sandbox.Limits{CPUShare: 0.1, Processes: 50, TempSize: 10e6}},
		{config.PluginFile{}, 8, sandbox.Limits{CPUShare: 2, Processes: 50, TempSize: 10e6}},
		{config.PluginFile{CPU: 4, Processes: 500, Temp: config.Gigabyte}, 8, sandbox.Limits{CPUShare: 4, Processes: 500, TempSize: 1e9}},
		{config.PluginFile{CPU: 0.5, Processes: 5, Temp: 2 * config.Megabyte}, 0, sandbox.Limits{CPUShare: 0.5, Processes: 5, TempSize: 2e6}},
	} {
		all := p.limits(&plugin.Plugin{Manifest: plugin.Manifest{Limits: plugin.Limits{CPU: c.manifest}}}, c.file, 0)
		got := sandbox.Limits{CPUShare: all.CPUShare, Processes: all.Processes, TempSize: all.TempSize}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v, manifest %v (-want +got):\n%s", c.file, c.manifest, diff)
		}
	}
}

// greeter is a server somewhere that says hello and ends.
func greeter(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-served })
	return l.Addr().(*net.TCPAddr).Port
}

// needFull skips where destinations are not told apart.
func (h *host) needFull() {
	h.t.Helper()
	if h.posture.Level != api.SandboxFull {
		h.t.Skipf("this host gives sandbox %s", &h.posture)
	}
}

// networked has the rest of a manifest of a plugin that reaches what the owner says.
const networked = "configuration: {to: {type: array, items: {type: string}}}\npermissions: {network: [\"${config.to}\"]}\n---\n"

// reach is for plugins: it connects and reads to the end.
const reach = `
import json, socket, sys
def reach(host, port):
    try:
        with socket.create_connection((host, port), 5) as s:
            return s.makefile().read()
    except OSError:
        return "no"
`

// An unmodified program reaches the address that the owner's configuration names, through
// the agent, and nothing beside it; each connection is counted, recorded, and told in
// the result.
func TestPluginReachesItsDestinations(t *testing.T) {
	port := greeter(t)
	h := newHost(t, api.Action, map[string]string{
		"p": fmt.Sprintf(action, "script") + networked + reach + `
port = int(sys.argv[sys.argv.index("--to") + 1].split(":")[1])
print(json.dumps({"named": reach("127.0.0.1", port), "private": reach("intern.invalid", 80), "other": reach("127.0.0.1", 1)}))
`,
		"p.yaml": fmt.Sprintf("plugin: p\nconfig: {to: [\"127.0.0.1:%d\", \"intern.invalid:80\", \"unused.invalid:80\"]}\n", port),
	})
	h.needFull()
	r := h.Execute(t.Context(), h.order("p", nil))
	h.ended(r, api.Completed, "")
	if diff := cmp.Diff(map[string]string{"named": `"hello"`, "private": `"no"`, "other": `"no"`}, fields(t, r.Result, "named", "private", "other")); diff != "" {
		t.Errorf("reached (-want +got):\n%s\n%s", diff, h.log)
	}
	if !slices.Contains(r.Sandbox.Achieved, api.AchievedEgress) {
		t.Errorf("posture %s", r.Sandbox)
	}
	metrics := httptest.NewRecorder()
	h.rt.metricsHandler().ServeHTTP(metrics, httptest.NewRequest("GET", h.rt.Config().Metrics.Path, nil))
	for _, want := range []string{
		`plugin_connections_total{plugin="p",outcome="closed"} 1`, `plugin_connections_total{plugin="p",outcome="unresolved"} 1`,
		`plugin_connection_bytes_total{plugin="p",direction="received"} 5`, `plugin_connection_bytes_total{plugin="p",direction="sent"} 0`,
	} {
		if !strings.Contains(metrics.Body.String(), want) {
			t.Errorf("metrics lack %s\n%s", want, h.log)
		}
	}
	named := fmt.Sprintf("127.0.0.1:%d", port)
	want := []api.Traffic{
		{Destination: named, Addresses: []string{"127.0.0.1"}, Connections: 1, BytesReceived: 5},
		{Destination: "intern.invalid:80", Failed: 1},
	}
	if len(r.Network) == 2 && !strings.Contains(r.Network[1].LastError, "no address") {
		t.Errorf("last error %q", r.Network[1].LastError)
	}
	if diff := cmp.Diff(want, r.Network, cmpopts.IgnoreFields(api.Traffic{}, "LastError")); diff != "" {
		t.Errorf("traffic (-want +got):\n%s", diff)
	}
	if n := h.log.count(`level=INFO msg="plugin connection" plugin=p instruction=ins-1 destination=`+named+" address="+named+" sent=0 received=5 duration_ms=", `outcome=closed reason=""`); n != 1 {
		t.Errorf("the connection is recorded %d times\n%s", n, h.log)
	}
	if n := h.log.count("level=INFO", `"plugin connection"`, `instruction=ins-1 destination=intern.invalid:80 address=""`, "outcome=unresolved"); n != 1 {
		t.Errorf("the failed connection is recorded %d times\n%s", n, h.log)
	}
}

// A run that fails tells whom it talked to all the same.
func TestTrafficOfARunThatFails(t *testing.T) {
	port := greeter(t)
	h := newHost(t, api.Action, map[string]string{
		"p":      fmt.Sprintf(action, "script") + networked + reach + fmt.Sprintf("reach('127.0.0.1', %d)\nimport time\ntime.sleep(600)\n", port),
		"p.yaml": fmt.Sprintf("plugin: p\nconfig: {to: [\"127.0.0.1:%d\"]}\n", port),
	})
	h.needFull()
	r := h.Execute(t.Context(), h.order("p", func(i *api.Instruction) { i.TimeoutSeconds = 1 }))
	h.ended(r, api.TimedOut, "")
	if len(r.Network) != 1 || r.Network[0].Connections != 1 {
		t.Errorf("traffic %+v\n%s", r.Network, h.log)
	}
}

// A sensor's connections are recorded as those of its monitor. One that makes very many
// does not write the log full, and what is left out is told.
func TestConnectionsOfASensor(t *testing.T) {
	const made = recordBurst + 50
	port := greeter(t)
	h := newHost(t, api.Sensor, map[string]string{
		"watch": "type: sensor\nruntime: {type: python, entry_point: main.py, contract: stdio}\n" + networked + reach + fmt.Sprintf(`
def detect(c):
    for _ in range(%d): reach("127.0.0.1", %d)
    say({"action": c, "success": True, "data": None})
`, made, port) + plain,
		"mine.yaml": fmt.Sprintf("plugin: watch\nname: var\nconfig: {to: [\"127.0.0.1:%d\"]}\n", port),
	})
	h.needFull()
	task := h.task("watch")
	task.Forever, task.Trigger = true, newEvents().take
	err := h.Sense(t.Context(), task, 10*time.Second, func(s *Session) error {
		_, err := s.Detect(t.Context())
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log)
	}
	h.connections.close()
	recorded := h.log.count(`level=INFO msg="plugin connection" plugin=watch monitor=var destination=127.0.0.1:`, "received=5", "outcome=closed")
	left := 0
	for _, said := range regexp.MustCompile(`left out of the log" plugin=watch count=(\d+)`).FindAllStringSubmatch(h.log.String(), -1) {
		n, err := strconv.Atoi(said[1])
		if err != nil {
			t.Fatal(err)
		}
		left += n
	}
	if recorded < recordBurst || left == 0 || recorded+left != made {
		t.Errorf("%d recorded and %d left out of %d", recorded, left, made)
	}
	if h.log.count("are left out of the log", "level=WARN", "plugin=watch") == 0 {
		t.Errorf("nothing is said when it begins\n%s", h.log)
	}
}

// Where less is given than is required, the run ends with what is missing, and nothing ran.
func TestRunBelowRequiredLevel(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"p": fmt.Sprintf(action, "script") + "---\nprint('{}')\n", "p.yaml": "plugin: p\nrequire: full\n",
	})
	h.posture = api.Posture{Level: api.SandboxConfined}
	r := h.Execute(t.Context(), h.order("p", nil))
	h.ended(r, api.Failed, "requires sandbox full of p and this agent gives confined")
	if r.ExitCode != nil {
		t.Errorf("it ran: %+v", r)
	}
}
