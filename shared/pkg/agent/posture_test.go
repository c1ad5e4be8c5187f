package agent

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// What a host cannot give is refused with what it gives, why, and what to do.
func TestAMinimumIsHeld(t *testing.T) {
	rt, _ := testRuntime(t, api.Action)
	p := &Plugins{rt: rt, posture: api.Posture{
		Level: api.SandboxConfined, Achieved: []string{api.AchievedMemory}, Missing: map[string]string{"namespaces": "clone: operation not permitted"},
	}}
	for _, least := range []api.SandboxLevel{"", api.SandboxNone, api.SandboxLimited, api.SandboxConfined} {
		if err := p.Confines(least); err != nil {
			t.Errorf("%q: %v", least, err)
		}
	}
	for least, want := range map[api.SandboxLevel]string{
		api.SandboxFull: "the step needs sandbox full and this agent gives confined+memory: namespaces: clone: operation not permitted (`action-agent sandbox check` says what to change)",
		"vault":         `the step needs sandbox "vault", which this version of the agent does not know: update the agent`,
	} {
		if err := p.Confines(least); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", least, err, want)
		}
	}
}

// What the host's owner requires is held at every launch, and said where people look.
func TestWhatTheOwnerRequires(t *testing.T) {
	for _, c := range []struct {
		general, own api.SandboxLevel
		trusted      bool
		admitted     [4]bool // at none, limited, confined, full
	}{
		{api.SandboxConfined, "", false, [4]bool{false, false, true, true}},
		{api.SandboxFull, "", false, [4]bool{false, false, false, true}},
		{api.SandboxNone, "", false, [4]bool{true, true, true, true}},
		{api.SandboxFull, "", true, [4]bool{false, true, true, true}},
		{api.SandboxNone, "", true, [4]bool{true, true, true, true}},
		{api.SandboxConfined, api.SandboxFull, true, [4]bool{false, false, false, true}},
		{api.SandboxFull, api.SandboxNone, false, [4]bool{true, true, true, true}},
	} {
		rt, _ := testRuntime(t, api.Sensor)
		rt.Config().Security.Sandbox.Require = c.general
		f := config.PluginFile{Plugin: "disk", Require: c.own, Trusted: c.trusted}
		for n, level := range []api.SandboxLevel{api.SandboxNone, api.SandboxLimited, api.SandboxConfined, api.SandboxFull} {
			p := &Plugins{rt: rt, posture: api.Posture{Level: level, Missing: map[string]string{"landlock": "the kernel has none"}}}
			err := p.Admits(f)
			if (err == nil) != c.admitted[n] {
				t.Errorf("require %q, own %q, trusted %v, at %s: %v", c.general, c.own, c.trusted, level, err)
			}
			if err != nil {
				if launch := p.furnish(t.Context(), Task{Settings: f}, &room{}, ""); launch == nil || launch.Error() != err.Error() {
					t.Errorf("the launch fails with %v, want %v", launch, err)
				}
			}
			rt.tellPosture(&p.posture)
			degraded := condition(rt, conditionSandbox)
			if (degraded == nil) != level.AtLeast(c.general) {
				t.Errorf("require %q at %s: the condition is %+v", c.general, level, degraded)
			}
			if degraded != nil && (!strings.Contains(degraded.Message, "gives "+string(level)+": landlock: the kernel has none") || !strings.Contains(degraded.Remedy, "`sensor-agent sandbox check`")) {
				t.Errorf("the condition says %+v", degraded)
			}
		}
	}
}

// Metrics show every layer and level; /health shows all of it, to this host only.
func TestThePostureIsTold(t *testing.T) {
	rt, _ := testRuntime(t, api.Action)
	rt.tellPosture(&api.Posture{Level: api.SandboxConfined, Layers: map[string]string{
		"landlock": api.LayerEnforced, "memory": api.LayerEnforced + ": cgroup2", "namespaces": api.LayerUnavailable + ": refused", "network": api.LayerOff,
	}})
	w := httptest.NewRecorder()
	rt.metricsHandler().ServeHTTP(w, httptest.NewRequest("GET", rt.Config().Metrics.Path, nil))
	for _, line := range []string{
		`stavily_agent_sandbox_level{level="full"} 0`, `stavily_agent_sandbox_level{level="confined"} 1`,
		`stavily_agent_sandbox_level{level="limited"} 0`, `stavily_agent_sandbox_level{level="none"} 0`,
		`stavily_agent_sandbox_layer{layer="landlock"} 1`, `stavily_agent_sandbox_layer{layer="memory"} 1`,
		`stavily_agent_sandbox_layer{layer="namespaces"} 0`, `stavily_agent_sandbox_layer{layer="network"} 0`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	for remote, want := range map[string]bool{"127.0.0.1:5": true, "192.0.2.1:5": false} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/health", nil)
		r.RemoteAddr = remote
		healthHandler(rt.Health, "/health", "/ready").ServeHTTP(w, r)
		if got := strings.Contains(w.Body.String(), `"sandbox":{"level":"confined","layers":{"landlock":"enforced",`); got != want || w.Code != 200 {
			t.Errorf("%s is told of the sandbox: %v, want %v: %s", remote, got, want, w.Body)
		}
	}
}
