package agent

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// monitors are all of this agent, as the plugins and their configuration are now.
type monitors struct {
	rt       *agent.Runtime
	out      *outbox
	restarts *telemetry.CounterVec
	samples  *telemetry.HistogramVec
	news     chan struct{} // see freshness

	mu   sync.Mutex // guards list
	list []*monitor // in the order of the files
}

func newMonitors(rt *agent.Runtime, out *outbox) *monitors {
	return &monitors{
		rt: rt, out: out,
		restarts: rt.Metrics.CounterVec("monitor_restarts_total", "Times that a monitor's plugin ended and was started again.", "monitor"),
		samples:  rt.Metrics.HistogramVec("monitor_sample_seconds", "Time that a plugin took to look for triggers.", []float64{.001, .01, .1, 1, 10, 60}, "monitor"),
	}
}

// run keeps all monitors running, each as its file says now and with the version of its
// plugin that is in use now, until ctx ends.
func (s *monitors) run(ctx context.Context) error {
	changed, stop := s.rt.Plugins.Changes()
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		s.follow()
		for _, m := range s.all() {
			if m.start(ctx) {
				running.Go(func() { m.run(ctx) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (s *monitors) all() []*monitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// follow replaces the monitors whose settings or plugin changed, and leaves the others
// alone.
func (s *monitors) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := map[string]*monitor{}
	for _, m := range s.list {
		before[m.settings.Name] = m
	}
	s.list = nil
	for _, f := range s.rt.Plugins.Settings() {
		old := before[f.Name]
		delete(before, f.Name)
		next := s.make(f)
		if old != nil && old.same(next) {
			next.release()
			s.list = append(s.list, old)
			continue
		}
		if old != nil {
			next.after = old
			next.inherit(old)
			if next.plugin == nil {
				old.expel()
			} else {
				old.retire()
			}
		}
		next.announce()
		s.list = append(s.list, next)
	}
	for _, m := range before {
		m.dismiss()
	}
}

// make is a monitor that does not run yet.
func (s *monitors) make(f config.PluginFile) *monitor {
	m := &monitor{
		rt: s.rt, out: s.out, settings: f, begun: s.rt.Plugins.Generation(), release: func() {},
		restarts: s.restarts.WithLabelValues(f.Name), samples: s.samples.WithLabelValues(f.Name), done: make(chan struct{}),
		news: s.news, born: time.Now(),
		info: api.MonitorInfo{Name: f.Name, Plugin: f.Plugin, State: "starting"},
	}
	if f.Wanted != nil {
		m.info.Workflow = f.Wanted.Workflow
	}
	p, release, err := s.rt.Plugins.Acquire(f.Plugin)
	if err == nil {
		if err = s.rt.Plugins.CanRun(agent.Task{Plugin: p, Settings: f}); err != nil {
			release()
		}
	}
	if err != nil {
		m.info.State, m.info.Message = "refused", err.Error()
		return m
	}
	m.plugin, m.release = p, release
	return m
}

// same reports whether another monitor would do nothing else.
func (m *monitor) same(o *monitor) bool {
	if !reflect.DeepEqual(m.settings, o.settings) || (m.plugin == nil) != (o.plugin == nil) {
		return false
	}
	if m.plugin == nil {
		return m.info.Message == o.info.Message
	}
	return m.begun == o.begun && sameVersion(m.plugin, o.plugin)
}

func sameVersion(a, b *plugin.Plugin) bool { return a.Dir == b.Dir && a.Digest == b.Digest }

// announce says why a monitor does not run.
func (m *monitor) announce() {
	if m.plugin != nil {
		return
	}
	why := m.info.Message
	m.rt.Health.Set(m.condition(), agent.Degraded, false, "monitor "+m.settings.Name+": "+why, m.remedy())
	m.rt.Log.Warn("monitor refused", telemetry.KeyMonitor, m.settings.Name, telemetry.KeyError, why)
}

func (m *monitor) remedy() string {
	if m.settings.Wanted != nil {
		return "do what it says, or change workflow " + m.settings.Wanted.Workflow + ", which wants this monitor: a change is noticed by itself"
	}
	return "do what it says, or correct or remove " + m.settings.File + ": a change is noticed by itself"
}

// infos lists the monitors, as heartbeats tell them; never nil.
func (s *monitors) infos() []api.MonitorInfo {
	all := s.all()
	out := make([]api.MonitorInfo, len(all))
	for i, m := range all {
		m.mu.Lock()
		out[i] = m.info
		m.mu.Unlock()
	}
	return out
}
