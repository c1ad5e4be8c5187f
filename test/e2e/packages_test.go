package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// release packs a version of a plugin: an action of the SDK whose program has a line more
// at its beginning, and whose manifest ends with others.
func release(t *testing.T, key *bundle.Signer, version, line, manifest string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin.yaml": "id: tidy\nversion: " + version + "\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n" + manifest,
		"main.py":     "import stavily\n" + line + "\n\n\n@stavily.action\ndef tidy(params, ctx):\n    return \"" + version + "\"\n\n\nstavily.run()\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := bundle.Pack(&b, dir, key); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tidy-"+version+".tar.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type rollout struct {
	Phase   string `json:"phase"`
	Stage   string `json:"stage"`
	Version string `json:"version"`
	Target  string `json:"target"`
	Reason  string `json:"reason"`
	Agents  []struct {
		ID      string `json:"id"`
		Version string `json:"version"`
		State   string `json:"state"`
		Message string `json:"message"`
	} `json:"agents"`
}

// awaitRollout waits for the only roll-out to be in this phase with this version complete.
func (w *world) awaitRollout(phase, version string) (r rollout) {
	w.t.Helper()
	w.await("roll-out "+phase+" with "+version, func() error {
		all := cli[[]rollout](w, "plugins", "rollout", "show", "tidy")
		if len(all) != 1 || all[0].Phase != phase || all[0].Version != version {
			if len(all) == 1 && all[0].Phase == "stopped" {
				w.t.Fatalf("it stopped instead of being %s with %s: %+v", phase, version, all[0])
			}
			return fmt.Errorf("%+v", all)
		}
		r = all[0]
		return nil
	})
	return r
}

// inUse is the version of the plugin that an agent says is ready, with the digest of its
// directory.
func (w *world) inUse(id api.AgentID) string {
	w.t.Helper()
	agent := cli[struct {
		Plugins []api.PluginInfo `json:"plugins"`
	}](w, "agents", "show", string(id))
	for _, p := range agent.Plugins {
		if p.ID == "tidy" {
			return p.Version
		}
	}
	return ""
}

// distribution is two action agents that take what one key has signed.
type distribution struct {
	*world
	key *bundle.Signer
}

func newDistribution(t *testing.T) distribution {
	t.Helper()
	key, err := bundle.NewKey("release")
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "release.pub")
	if err := os.WriteFile(keys, []byte(key.Key().Line()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := distribution{newWorld(t, "STAVILY_PLUGINS_TRUSTED_KEYS="+keys), key}
	d.agent("aa", api.Action, nil, nil)
	d.agent("bb", api.Action, nil, nil)
	d.start("aa", "bb")
	d.plugins("trust", keys)
	return d
}

func (d distribution) plugins(args ...string) {
	d.t.Helper()
	_, err := d.CLI(d.ctx, append([]string{"plugins"}, args...)...)
	d.must(err)
}

func (d distribution) publish(version, line, manifest string) {
	d.t.Helper()
	d.plugins("publish", release(d.t, d.key, version, line, manifest))
}

// awaitInUse waits until both agents have these versions in use; "" is none.
func (d distribution) awaitInUse(aa, bb string) {
	d.t.Helper()
	d.await(fmt.Sprintf("%q and %q in use", aa, bb), func() error {
		if a, b := d.inUse("aa"), d.inUse("bb"); a != aa || b != bb {
			return fmt.Errorf("they have %q and %q: %+v", a, b, cli[[]rollout](d.world, "plugins", "rollout", "show", "tidy"))
		}
		return nil
	})
}

// TestPackagesReachAgents: published, assigned, installed by two agents one after the
// other; a version that asks for more waits for approval; one that does not load stops at
// the first agent, which goes on with what it had.
func TestPackagesReachAgents(t *testing.T) {
	d := newDistribution(t)
	if _, err := d.CLI(d.ctx, "plugins", "publish", release(t, nil, "0.9.0", "", "")); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("an unsigned package: %v", err)
	}
	d.publish("1.0.0", "", "")
	d.plugins("assign", "tidy@^1", "--all", "--settle", "1s")
	d.awaitRollout("idle", "1.0.0")
	d.awaitInUse("1.0.0", "1.0.0")

	d.publish("1.1.0", "", "permissions: {network: [\"127.0.0.1:9\"]}\n")
	waits := d.awaitRollout("waiting", "1.0.0")
	if !strings.Contains(waits.Reason, "network 127.0.0.1:9") {
		t.Errorf("it waits because %q", waits.Reason)
	}
	d.plugins("approve", "tidy@1.1.0")
	d.awaitRollout("idle", "1.1.0")

	d.publish("1.2.0", "import what_does_not_exist", "")
	stopped := d.awaitRollout("stopped", "1.1.0")
	if !strings.Contains(stopped.Reason, "aa: failed") || !strings.Contains(stopped.Reason, "what_does_not_exist") || stopped.Agents[1].Version != "1.1.0" {
		t.Errorf("stopped: %+v", stopped)
	}
	d.awaitInUse("1.1.0", "1.1.0")

	d.Kill("aa")
	d.Kill("server")
	d.must(d.StartServer(d.ctx))
	d.start("aa")
	d.publish("1.2.1", "", "")
	d.awaitRollout("idle", "1.2.1")
}

// TestPackagesGoAgain: a version that is aborted is gone back from, and what is not
// assigned any more is removed.
func TestPackagesGoAgain(t *testing.T) {
	d := newDistribution(t)
	d.publish("1.0.0", "", "")
	d.plugins("assign", "tidy", "--all", "--at-once")
	d.awaitInUse("1.0.0", "1.0.0")
	d.plugins("assign", "tidy", "--all", "--settle", "1s")
	d.awaitRollout("idle", "1.0.0")
	d.plugins("assign", "tidy", "--all", "--settle", "1h")
	d.publish("1.1.0", "", "")
	d.awaitInUse("1.1.0", "1.0.0")
	d.plugins("rollout", "abort", "tidy")
	d.awaitInUse("1.0.0", "1.0.0")
	d.plugins("unassign", "tidy", "--all")
	d.awaitInUse("", "")
}
