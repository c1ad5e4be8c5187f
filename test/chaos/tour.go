package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// enrolling is the program whose points a tour passes by itself.
const enrolling = "sensor-agent-enroll"

// tourTries is how often a step of a tour is done: what fails once was made to.
const tourTries = 3

// takeTour does once what operators do now and then: a token and an enrolment, a secret, a
// workflow, a plugin from its package to its agents and away again. A step that fails is done
// again, as people and scripts do, and must then succeed. For the points of enrolling there is no
// more than an enrolment.
func (b *bench) takeTour(ctx context.Context, program string) error {
	b.tour++
	agent := fmt.Sprintf("tour-%d", b.tour)
	version := fmt.Sprintf("1.0.%d", b.tour)
	value := filepath.Join(b.dir, "value")
	pack, err := b.pack(version)
	if err = errors.Join(err, os.WriteFile(value, []byte(agent), 0o600)); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return b.enrol(ctx, agent) },
		func() error { return b.cli(ctx, "secrets", "set", "tour", "--file", value) },
		func() error { return b.apply(ctx, ourOrg, workflows[0]) },
		func() error { return b.cli(ctx, "plugins", "publish", pack) },
		func() error {
			return b.cli(ctx, "plugins", "assign", "tour@"+version, "--agent", actionID, "--at-once")
		},
		func() error { return b.ready(ctx, version) },
		func() error { return b.cli(ctx, "plugins", "unassign", "tour", "--agent", actionID) },
		func() error { return b.cli(ctx, "agents", "revoke", agent, "--reason", "a tour") },
	}
	if program == enrolling {
		steps = slices.Delete(steps, 1, len(steps)-1)
	}
	for n, step := range steps {
		if err := b.persist(ctx, step); err != nil {
			return fmt.Errorf("step %d of tour %d: %w", n+1, b.tour, err)
		}
		if b.verbose {
			fmt.Printf("      %s tour %d, step %d\n", time.Now().Format(time.TimeOnly), b.tour, n+1)
		}
	}
	return nil
}

// persist does a step until it succeeds. One that says that it was done before was. A server that
// answers nothing may be one that is about to end, and is started again then: that is no try.
func (b *bench) persist(ctx context.Context, step func() error) error {
	var err error
	deadline := time.Now().Add(forAdvance)
	for tries := 0; tries < tourTries; {
		if err = errors.Join(step(), b.revive(ctx)); err == nil {
			return nil
		}
		if strings.Contains(err.Error(), "no server answers") && time.Now().Before(deadline) {
			time.Sleep(forEnd)
			continue
		}
		tries++
		for _, done := range []string{"not assigned", "no assignment", "revoked", "exists"} {
			if strings.Contains(err.Error(), done) {
				return b.revive(ctx)
			}
		}
	}
	return err
}

func (b *bench) cli(ctx context.Context, args ...string) error {
	_, err := b.CLI(ctx, args...)
	return err
}

// enrol enrols an agent that never runs. What a crash leaves of its directory is used again.
func (b *bench) enrol(ctx context.Context, id string) error {
	_, err := b.AddAgentOf(ctx, api.OrgID(ourOrg), api.AgentID(id), api.Sensor)
	return err
}

// pack makes a version of a plugin that does nothing.
func (b *bench) pack(version string) (path string, err error) {
	dir := filepath.Join(b.dir, "tour")
	path = filepath.Join(b.dir, "tour.tar.gz")
	var packed bytes.Buffer
	err = os.MkdirAll(dir, 0o700)
	for name, text := range map[string]string{
		"plugin.yaml": "id: tour\nversion: " + version + "\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n",
		"main.py":     "import stavily\n\n\n@stavily.action\ndef tour(params, ctx):\n    return \"" + version + "\"\n\n\nstavily.run()\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	if err != nil {
		return "", err
	}
	if _, err := bundle.Pack(&packed, dir, b.signer); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, packed.Bytes(), 0o600)
}

// ready waits until the agent says that it has the version.
func (b *bench) ready(ctx context.Context, version string) error {
	var shown struct {
		Plugins []api.PluginInfo `json:"plugins"`
	}
	for deadline := time.Now().Add(forAdvance); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := b.revive(ctx); err != nil {
			return err
		}
		text, err := b.CLI(ctx, "agents", "show", actionID, "-o", "json")
		if err == nil {
			err = limits.UnmarshalJSON(text, &shown)
		}
		if err != nil {
			continue // the server is down
		}
		for _, p := range shown.Plugins {
			if p.ID == "tour" && p.Version == version {
				return nil
			}
		}
	}
	seen, _ := json.Marshal(shown.Plugins)
	return fmt.Errorf("plugin tour %s is not in use on %s after %v: %s", version, actionID, forAdvance, seen)
}
