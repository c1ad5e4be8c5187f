//go:build linux

package agent

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// What a plugin takes beyond its limits is named in the result, whatever holds it, and
// what held it stands in the posture.
func TestLimitsAreNamed(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"eats":    script("held = []\nwhile True: held.append(b'x' * (1 << 20))\n"),
		"fills":   script("for i in range(100):\n    open(env['TMPDIR'] + '/' + str(i), 'wb').write(b'x' * (1 << 20))\ntime.sleep(30)\n"),
		"hoards":  script("for i in range(100):\n    open(env['HOME'] + '/' + str(i), 'wb').write(b'x' * (1 << 20))\ntime.sleep(30)\n"),
		"content": script("open(env['TMPDIR'] + '/a', 'wb').write(b'x' * (1 << 20))\n"),
	})
	h.rt.Config().Security.Sandbox.MaxTemp = 16 << 20
	h.rt.Config().Plugins.MaxMemory = 128 << 20
	for id, reason := range map[api.PluginID]string{"eats": "memory_limit", "fills": "temp_limit", "hoards": "temp_limit"} {
		got := h.Execute(t.Context(), h.order(id, given("percent", "1")))
		h.ended(got, api.Failed, "")
		if want := `{"reason":"` + reason + `"}`; string(got.ErrorDetails) != want {
			t.Errorf("%s: %s (%s), want %s", id, got.ErrorDetails, got.ErrorMessage, want)
		}
	}
	got := h.Execute(t.Context(), h.order("content", given("percent", "1")))
	h.ended(got, api.Completed, "")
	if n := got.ResourceUsage.StoredBytes; n < 1<<20 || n > 2<<20 {
		t.Errorf("stored %d bytes, want 1 MiB", n)
	}
	w := httptest.NewRecorder()
	h.rt.metricsHandler().ServeHTTP(w, httptest.NewRequest("GET", h.rt.Config().Metrics.Path, nil))
	text := w.Body.String()
	for _, want := range []string{`plugin_limits_total{plugin="eats",reason="memory_limit"} 1`, `plugin_stored_peak_bytes{plugin="content"} 1`, `plugin_cpu_seconds_total{plugin="fills"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

func TestThePostureSaysWhatHoldsMemory(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"content": script("")})
	p := h.Posture()
	kernel := h.confinement.groups != nil
	switch {
	case kernel != slices.Contains(p.Achieved, api.AchievedMemory):
		t.Errorf("groups: %v, posture %s", kernel, p)
	case kernel && !strings.HasPrefix(p.Memory, "cgroup"), !kernel && p.Memory != "watchdog":
		t.Errorf("memory is held by %q", p.Memory)
	case !kernel && p.Missing["memory"] == "":
		t.Error("nothing says why the kernel holds no memory limit")
	}
	if !kernel {
		return
	}
	h.ended(h.Execute(t.Context(), h.order("content", given("percent", "1"))), api.Completed, "")
	if n, err := h.confinement.groups.Sweep(); n != 0 || err != nil {
		t.Errorf("%d groups are left, %v", n, err)
	}
}
