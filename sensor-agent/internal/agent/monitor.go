package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// monitors are all of this agent.
type monitors struct {
	list []*monitor
}

// monitor is one configured plugin.
type monitor struct {
	rt       *agent.Runtime
	out      *outbox
	settings config.PluginFile
	plugin   *plugin.Plugin // nil when it cannot be used
	restarts prometheus.Counter
	samples  prometheus.Observer

	mu   sync.Mutex // guards info
	info api.MonitorInfo
}

func newMonitors(rt *agent.Runtime, out *outbox) *monitors {
	restarts := rt.Metrics.CounterVec("monitor_restarts_total", "Times that a monitor's plugin ended and was started again.", "monitor")
	samples := rt.Metrics.HistogramVec("monitor_sample_seconds", "Time that a plugin took to look for triggers.", []float64{.001, .01, .1, 1, 10, 60}, "monitor")
	set := &monitors{}
	for _, f := range rt.Plugins.Settings() {
		m := &monitor{
			rt: rt, out: out, settings: f, restarts: restarts.WithLabelValues(f.Name), samples: samples.WithLabelValues(f.Name),
			info: api.MonitorInfo{Name: f.Name, Plugin: f.Plugin, State: "starting"},
		}
		var err error
		if m.plugin, err = usable(rt, f); err != nil {
			m.info.State, m.info.Message = "refused", err.Error()
			rt.Health.Set("monitor_"+f.Name, agent.Degraded, false, "monitor "+f.Name+": "+err.Error(), "do what it says or correct "+f.File+", then restart the agent")
			rt.Log.Warn("monitor refused", telemetry.KeyMonitor, f.Name, telemetry.KeyError, err)
		}
		set.list = append(set.list, m)
	}
	return set
}

// usable is the plugin of a monitor, if it is here and may run.
func usable(rt *agent.Runtime, f config.PluginFile) (*plugin.Plugin, error) {
	p, err := rt.Plugins.Find(f.Plugin)
	if err == nil {
		err = rt.Plugins.CanRun(agent.Task{Plugin: p, Settings: f})
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// infos lists the monitors, as heartbeats tell them; never nil.
func (s *monitors) infos() []api.MonitorInfo {
	out := make([]api.MonitorInfo, len(s.list))
	for i, m := range s.list {
		m.mu.Lock()
		out[i] = m.info
		m.mu.Unlock()
	}
	return out
}

func (s *monitors) components() []agent.Component {
	var out []agent.Component
	for _, m := range s.list {
		if m.plugin != nil {
			out = append(out, agent.Component{Name: "monitor " + m.settings.Name, Run: m.run})
		}
	}
	return out
}

// run keeps the monitor's plugin running until ctx ends.
func (m *monitor) run(ctx context.Context) error {
	work := m.sample
	if m.plugin.Runtime.Contract == plugin.Script {
		work = m.stream
	}
	agent.Keep(ctx, agent.KeepPolicy{OnState: m.tell}, work)
	return nil
}

// tell keeps the monitor's state where people look for it.
func (m *monitor) tell(s agent.KeepState) {
	m.mu.Lock()
	changed := m.info.State != string(s.Phase) || m.info.Message != s.Reason
	m.info.State, m.info.Message = string(s.Phase), s.Reason
	m.mu.Unlock()
	condition := "monitor_" + m.settings.Name
	switch s.Phase {
	case agent.MonitorRunning:
		m.rt.Health.Clear(condition)
	case agent.MonitorWaiting:
		m.restarts.Inc()
		m.rt.Health.Set(condition, agent.Degraded, false, "monitor "+m.settings.Name+": "+s.Reason, "see logs/plugins/"+string(m.plugin.ID)+".log; it is started again by itself")
		m.rt.Log.Warn("monitor ended", telemetry.KeyMonitor, m.settings.Name, telemetry.KeyPlugin, m.plugin.ID, "reason", s.Reason, "again_at", s.Until)
	}
	if changed {
		m.rt.BeatSoon()
	}
}

func (m *monitor) task() agent.Task {
	return agent.Task{Plugin: m.plugin, Settings: m.settings, Forever: true, Trigger: m.accept}
}

// accept takes an event of this monitor.
func (m *monitor) accept(ctx context.Context, e api.Event) (api.EventID, error) {
	e.Source, e.Monitor = string(m.plugin.ID), m.settings.Name
	return m.out.accept(ctx, e)
}

// keep takes an event that the plugin will not tell again: a full spool blocks the
// monitor until there is room or it ends.
func (m *monitor) keep(ctx context.Context, e api.Event) error {
	for {
		_, err := m.accept(ctx, e)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		m.say(err.Error())
	}
}

// say makes a message the monitor's, and reports whether it is a new one.
func (m *monitor) say(message string) bool {
	m.mu.Lock()
	changed := m.info.Message != message
	m.info.Message = message
	m.mu.Unlock()
	if changed {
		m.rt.BeatSoon()
	}
	return changed
}

// stream runs a monitor that reports by itself.
func (m *monitor) stream(ctx context.Context, up func()) error {
	up()
	return m.rt.Plugins.Stream(ctx, m.task())
}

// closeGrace is what a plugin gets at the end, to finish what it does.
const closeGrace = 5 * time.Second

// sample asks the plugin for triggers at every interval. It returns when the plugin
// breaks its contract; an answer without success is logged and not the end.
func (m *monitor) sample(ctx context.Context, up func()) error {
	return m.rt.Plugins.Sense(ctx, m.task(), closeGrace, func(s *agent.Session) error {
		up()
		every := m.settings.Interval.Duration()
		pause := time.Duration(rand.Int64N(int64(every)/10 + 1)) // monitors that start together do not sample together
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-s.Done():
				return s.Err()
			case <-time.After(pause):
			}
			begin := time.Now()
			if err := m.once(ctx, s); err != nil {
				return err
			}
			took := time.Since(begin)
			m.samples.Observe(took.Seconds())
			pause = max(every-took, 0)
		}
	})
}

// once is one look. The error ends the session.
func (m *monitor) once(ctx context.Context, s *agent.Session) error {
	limit := m.rt.Config.Plugins.Timeout.Duration()
	for _, own := range []time.Duration{m.settings.Timeout.Duration(), m.plugin.Limits.ExecutionTime} {
		if own > 0 {
			limit = min(limit, own)
		}
	}
	looking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	events, err := s.Detect(looking)
	if s.Err() != nil {
		return s.Err()
	}
	for _, e := range events { // beside ones that cannot be read there may be good ones
		err = errors.Join(err, m.keep(ctx, e))
	}
	m.mu.Lock()
	m.info.LastRun = api.At(time.Now())
	m.mu.Unlock()
	condition := "monitor_" + m.settings.Name
	if err == nil {
		m.rt.Health.Clear(condition)
		m.say("")
		return nil
	}
	if m.say(err.Error()) { // once per reason
		m.rt.Log.Warn("monitor failed to look", telemetry.KeyMonitor, m.settings.Name, telemetry.KeyError, err)
	}
	m.rt.Health.Set(condition, agent.Degraded, false, "monitor "+m.settings.Name+": "+err.Error(), "see logs/plugins/"+string(m.plugin.ID)+".log")
	return nil
}
