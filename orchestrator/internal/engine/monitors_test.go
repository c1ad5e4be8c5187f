package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

const watched = "name: %s\nmode: %s\ntriggers: [{id: disk, event: disk.full, agents: {tags: [web]}, monitor: {plugin: disk-space@^1, interval: 5s, config: {threshold: %d}}}]\noutputs: [{plugin: p}]\n"

// wanted is what a sensor is told to run, in words.
func (w world) wanted(a agent) string {
	w.t.Helper()
	set, _, err := w.Monitors(w.t.Context(), a.Identity, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if (set.Version == "") != (len(set.Monitors) == 0) {
		w.t.Errorf("%d monitors of version %q", len(set.Monitors), set.Version)
	}
	var out []string
	for _, m := range set.Monitors {
		out = append(out, fmt.Sprintf("%s %s@%s %vs %s", m.Name, m.Plugin, m.Version, m.Interval, m.Config["threshold"]))
	}
	return strings.Join(out, ", ")
}

// Sensors are told of the monitors that workflows in effect bring, those that the trigger
// picks, at once, and over a restart.
func TestMonitorsOfWorkflows(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		web, other, action := w.enrol(api.Sensor, "s1", "h1"), w.enrol(api.Sensor, "s2", "h2"), w.enrol(api.Action, "a1", "h1")
		if _, err := w.Heartbeat(t.Context(), web.Identity, api.Heartbeat{Status: StatusOnline, Tags: []string{"web"}}); err != nil {
			t.Fatal(err)
		}
		before, _, err := w.Assignments(t.Context(), web.Identity, "", 0)
		if err != nil || before.MonitorsVersion != "" {
			t.Fatalf("%+v, %v", before, err)
		}
		told := make(chan api.Assignments, 1)
		go func() {
			set, _, _ := w.Assignments(t.Context(), web.Identity, before.Version, time.Minute)
			told <- set
		}()
		time.Sleep(time.Second)
		w.apply(fmt.Sprintf(watched, "simple", "live", 85))
		begin := time.Now()
		if set := <-told; set.MonitorsVersion == "" || set.Version == before.Version || time.Since(begin) > time.Second {
			t.Errorf("told %+v after %s", set, time.Since(begin))
		}
		const want = "simple.disk disk-space@^1 5s 85"
		for _, c := range []struct {
			a    agent
			want string
		}{{web, want}, {other, ""}, {action, ""}} {
			if got := w.wanted(c.a); got != c.want {
				t.Errorf("%s: %q, want %q", c.a.Agent, got, c.want)
			}
		}
		w.apply(fmt.Sprintf(watched, "another", "shadow", 90))
		w = w.restart(time.Minute)
		if got := w.wanted(web); got != "another.disk disk-space@^1 5s 90, "+want {
			t.Errorf("after a restart: %q", got)
		}
		w.apply(fmt.Sprintf(watched, "another", "off", 90))
		if got := w.wanted(web); got != want {
			t.Errorf("one is off: %q", got)
		}
		set, _, err := w.Monitors(t.Context(), web.Identity, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 3)
		if _, changed, err := w.Monitors(t.Context(), web.Identity, set.Version, time.Minute); changed || err != nil || time.Now().Nanosecond() != 0 {
			t.Errorf("nothing has changed: %v, %v; the call ended at %s, and not with others", changed, err, time.Now())
		}
		if err := w.Delete(t.Context(), "default", "simple"); err != nil {
			t.Fatal(err)
		}
		if got := w.wanted(web); got != "" {
			t.Errorf("after the end of it: %q", got)
		}
	})
}
