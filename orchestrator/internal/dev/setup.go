package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// The agents and files of the set-up.
const (
	sensorID = "demo-sensor"
	actionID = "demo-action"
	org      = "default" // the organisation that commands use unless told otherwise

	fileSize  = 64 << 10
	fileCount = 200
	limit     = fileCount * fileSize / 2 // half of what fill writes
	target    = limit / 2                // what the clean-up leaves at most
)

// setup is a running server, one agent of each kind, and what they watch.
type setup struct {
	*cluster.Cluster
	dir      string // of everything
	watched  string // the directory that the sensor measures
	receiver *receiver
	operator *operatorapi.Client
}

// newSetup starts everything and applies the workflow. throttle, unless 0, is how
// many files a second the clean-up may remove. The caller closes what it gets, also
// beside an error.
func newSetup(ctx context.Context, dir string, throttle int, log cluster.LogFunc) (*setup, error) {
	s := &setup{dir: dir, watched: filepath.Join(dir, "watched")}
	if err := os.Mkdir(s.watched, 0o755); err != nil {
		return s, fmt.Errorf("make the watched directory: %w", err)
	}
	bin, err := programs()
	if err != nil {
		return s, err
	}
	if s.receiver, err = newReceiver(ctx); err != nil {
		return s, err
	}
	if err := os.WriteFile(s.trusted(), nil, 0o600); err != nil {
		return s, fmt.Errorf("make the file of trusted keys: %w", err)
	}
	s.Cluster = cluster.New(cluster.Options{Dir: dir, Bin: bin, Log: log, Env: []string{"STAVILY_PLUGINS_TRUSTED_KEYS=" + s.trusted()}})
	if err := s.StartServer(ctx); err != nil {
		return s, err
	}
	s.operator = operatorapi.NewClient(filepath.Join(s.DataDir(), operatorapi.SocketName), org)
	if err := s.addAgents(ctx); err != nil {
		return s, err
	}
	request := operatorapi.ApplyRequest{File: "demo workflow", Text: workflow(throttle)}
	if err := s.operator.Do(ctx, "POST", "/api/v1/workflows", nil, request, nil); err != nil {
		return s, fmt.Errorf("apply the workflow: %w", err)
	}
	return s, nil
}

// trusted is the file of the keys whose packages both agents take, read at each package.
func (s *setup) trusted() string { return filepath.Join(s.dir, "trusted_keys") }

// programs is the directory that this program and, beside it, the agents are in.
func programs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	dir := filepath.Dir(self)
	for _, name := range []string{"sensor-agent", "action-agent"} {
		if _, err := os.Stat(filepath.Join(dir, name+filepath.Ext(self))); err != nil {
			return "", fmt.Errorf("%s is not beside %s: build all three with `make build`", name, self)
		}
	}
	return dir, nil
}

func (s *setup) addAgents(ctx context.Context) error {
	for id, typ := range map[api.AgentID]api.AgentType{sensorID: api.Sensor, actionID: api.Action} {
		if _, err := s.AddAgent(ctx, id, typ); err != nil {
			return err
		}
	}
	monitor := fmt.Sprintf("plugin: directory-size\ninterval: 1s\nconfig:\n  path: %q\n  max_bytes: %d\n", s.watched, limit)
	cleanup := fmt.Sprintf("plugin: cleanup-files\nconfig:\n  roots: [%q]\n", s.watched)
	webhook := fmt.Sprintf("plugin: webhook\nconfig:\n  url: %q\n", s.receiver.url)
	for _, f := range []struct {
		agent      api.AgentID
		name, text string
	}{
		{sensorID, "watched-directory", monitor},
		{actionID, "cleanup-files", cleanup},
		{actionID, "webhook", webhook},
	} {
		if err := s.Agent(f.agent).Configure(f.name, f.text); err != nil {
			return err
		}
	}
	for _, id := range []api.AgentID{actionID, sensorID} {
		if err := s.StartAgent(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// close ends every process and removes nothing: the caller owns the directory.
func (s *setup) close() error {
	var err error
	if s.Cluster != nil {
		err = s.Close()
	}
	if s.operator != nil {
		s.operator.Close()
	}
	if s.receiver != nil {
		err = errors.Join(err, s.receiver.close())
	}
	return err
}

// fill writes files until the directory is far over its limit; old enough names
// sort first, so the clean-up has a clear order.
func (s *setup) fill() error {
	block := make([]byte, fileSize)
	for i := range fileCount {
		if err := os.WriteFile(filepath.Join(s.watched, fmt.Sprintf("log-%04d.txt", i)), block, 0o644); err != nil {
			return fmt.Errorf("fill the watched directory: %w", err)
		}
	}
	return nil
}

// measure counts what is in the watched directory now.
func (s *setup) measure() (files int, bytes int64, err error) {
	entries, err := os.ReadDir(s.watched)
	if err != nil {
		return 0, 0, fmt.Errorf("look into the watched directory: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // one that vanished between the two is not there
			files++
			bytes += info.Size()
		}
	}
	return files, bytes, nil
}

// workflow is the automation that the demo shows. Cleaning up twice does no harm,
// so the step says that it may be run again after its agent died.
func workflow(throttle int) string {
	slow := ""
	if throttle > 0 {
		slow = fmt.Sprintf("\n      files_per_second: %d", throttle)
	}
	return `# Free space before the service on this host stops.
name: clean-when-full
description: Remove the oldest files when a directory is over its limit
triggers:
  - event: directory.size.high
when: event.data.bytes > event.data.limits.bytes
cooldown: 2s
actions:
  - id: clean
    plugin: cleanup-files
    with:
      path: ${{ event.data.path }}
      target_bytes: ${{ int(event.data.limits.bytes) / 2 }}` + slow + `
    timeout: 30s
    idempotent: true
outputs:
  - plugin: webhook
    with:
      text: "${{ workflow.name }}: ${{ run.status }}, ${{ string(steps.clean.result.remaining_bytes) }} bytes left in ${{ event.data.path }}"
`
}
