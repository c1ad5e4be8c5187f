//go:build unix

package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/internal/agentsocket"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// host is the agent's side of a monitor.
type host struct {
	events chan api.Event
	logs   chan api.LogEntry
}

func (h host) ReportTrigger(_ context.Context, e api.Event) (api.EventID, error) {
	h.events <- e
	return "01J", nil
}

func (h host) Logs(_ context.Context, entries []api.LogEntry) (int, error) {
	for _, e := range entries {
		h.logs <- e
	}
	return len(entries), nil
}

func (host) Progress(context.Context, plugin.Progress) error   { return nil }
func (host) Config(string) (map[string]json.RawMessage, error) { return nil, nil }
func (host) Info() (info agentsocket.Info)                     { return info }

// Everything at once, as an agent does it: an unmodified monitor with the nested
// manifest, started from its directory, kept running, reporting through its socket.
func TestAMonitorFromItsManifest(t *testing.T) {
	interpreter, err := python()
	if err != nil {
		t.Skip(err)
	}
	found, err := catalog.NewScanner("testdata", catalog.Options{Agent: api.Sensor}).Scan()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Refused != "" {
		t.Fatalf("found %+v, want one that can be used", found)
	}
	p := found[0].Plugin
	config := map[string]json.RawMessage{"load_trigger_threshold": []byte("2.5"), "hosts": []byte(`["a", "b"]`), "verbose": []byte("false")}
	if _, err := p.Configuration.Apply(config); err != nil {
		t.Fatal(err)
	}
	flags, err := plugin.Flags(config, p.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	path, args, err := catalog.Command(p, interpreter)
	if err != nil {
		t.Fatal(err)
	}
	agent := host{make(chan api.Event, 10), make(chan api.LogEntry, 10)}
	lines := make(chan string, 10)
	starts := 0
	run := func(ctx context.Context, up func()) error {
		starts++
		home := t.TempDir()
		return agentsocket.Serve(ctx, agentsocket.Options{Dir: home, Plugin: p.ID, Kind: p.Kind, Monitor: "m", Handler: agent}, func(socket string) error {
			env, err := sandbox.Environment{Agent: "a", Plugin: p.ID, Home: home, Temp: home, Socket: socket}.List()
			if err != nil {
				return err
			}
			up()
			r, err := RunScript(ctx, ScriptOptions{
				Spec: sandbox.Spec{Path: path, Args: append(args, flags...), Dir: p.Dir, Env: env, Limits: sandbox.Limits{Memory: p.Limits.Memory}},
				Log:  sinkTo(lines), Stream: true,
			})
			if err != nil {
				return err
			}
			return fmt.Errorf("the plugin %s", r.Exit)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); Keep(ctx, Policy{}, run) }()
	if got := <-lines; got != "threshold is 2.5" {
		t.Errorf("it says %q", got)
	}
	for _, want := range []string{`"a"`, `"b"`} {
		e := <-agent.events
		if e.Type != "load_high" || e.Severity != api.Medium || e.Source != "load-monitor" || e.Monitor != "m" || string(e.Data["host"]) != want {
			t.Errorf("event %+v", e)
		}
	}
	if e := <-agent.logs; e.Message != "reported" || e.Plugin != "load-monitor" {
		t.Errorf("log %+v", e)
	}
	cancel()
	<-done
	if diff := cmp.Diff(1, starts); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}
