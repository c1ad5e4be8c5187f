package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/pgtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// twoServers run on one database and one CA.
func twoServers(t *testing.T) (a, b *servertest.Server, cluster *pgtest.Cluster) {
	t.Helper()
	cluster = pgtest.Start(t)
	url := cluster.NewDatabase(t)
	shared := t.TempDir()
	start := func() *servertest.Server {
		return servertest.StartWith(t, func(o *server.Options) { o.Database, o.SharedDir = url, shared })
	}
	return start(), start(), cluster
}

func event(n int) api.EventBatch {
	return api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
		ID: api.EventID(fmt.Sprintf("E%d", n)), Seq: uint64(n), Type: "disk.space.high", Severity: api.Low, Timestamp: api.At(time.Now()),
	}}}
}

const cleanUp = "name: clean\ntriggers: [{event: disk.space.high}]\nactions: [{id: clean, plugin: clean_tmp}]\n"

// What happens at one server is known at the other at once: workflows, work, revocations.
func TestServersOfOneDatabase(t *testing.T) {
	a, b, cluster := twoServers(t)
	sensor, worker := a.Enrol(api.Sensor, "sensor-1", "h"), a.Enrol(api.Action, "worker-1", "h")
	workerAtB, sensorAtB := b.Reconnect(worker), b.Reconnect(sensor)
	if _, err := workerAtB.Heartbeat(t.Context(), api.Heartbeat{Status: "online", Plugins: []api.PluginInfo{{ID: "clean_tmp", Version: "1.0.0"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := sensorAtB.Events(t.Context(), event(1)); err != nil { // b remembers that there is no workflow
		t.Fatal(err)
	}
	a.Apply(cleanUp)
	type answer struct {
		offers []api.Instruction
		err    error
	}
	polled := make(chan answer)
	poll := func() {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			p, err := workerAtB.Poll(context.WithoutCancel(t.Context()), 20*time.Second, 1)
			if api.CodeOf(err) != api.CodeUnavailable || time.Now().After(deadline) { // on a busy machine they lose sight of each other now and then
				polled <- answer{p.Offers(), err}
				return
			}
		}
	}
	go poll()
	time.Sleep(200 * time.Millisecond) // so that it waits, most likely
	begin := time.Now()
	if _, err := sensor.Events(t.Context(), event(2)); err != nil {
		t.Fatal(err)
	}
	got := <-polled
	if got.err != nil || len(got.offers) != 1 {
		t.Fatalf("the poll at the other server got %+v, %v", got.offers, got.err)
	}
	t.Logf("posted at one server, offered by the other after %s", time.Since(begin))
	if _, err := sensorAtB.Events(t.Context(), event(3)); err != nil {
		t.Fatal(err)
	}
	if runs := a.Runs(); len(runs) != 2 {
		t.Errorf("%d runs, want one for each event after the workflow was applied", len(runs))
	}

	go poll()
	if got := <-polled; got.err != nil || len(got.offers) != 1 { // of the third event
		t.Fatalf("the second poll got %+v, %v", got.offers, got.err)
	}
	go poll()
	a.Do("POST", "/api/v1/agents/worker-1/revoke", operatorapi.RevokeRequest{Reason: "test"}, nil)
	if got := <-polled; api.CodeOf(got.err) != api.CodeRevoked {
		t.Errorf("the poll of a revoked agent at the other server: %v", got.err)
	}

	cluster.Terminate(t) // both lose every connection
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := sensor.Events(t.Context(), event(4))
		if err == nil {
			break
		}
		if api.CodeOf(err) != api.CodeUnavailable || time.Now().After(deadline) {
			t.Fatalf("after the connections were lost: %v", err)
		}
	}
}

// A server with a CA of its own would know none of the agents.
func TestServersNeedOneCA(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	servertest.StartWith(t, func(o *server.Options) { o.Database = url })
	err := server.Run(t.Context(), server.Options{DataDir: t.TempDir(), Database: url, Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil || !strings.Contains(err.Error(), "--shared-dir") {
		t.Errorf("Run = %v", err)
	}
}
