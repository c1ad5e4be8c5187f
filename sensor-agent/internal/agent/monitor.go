package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// monitor is one configured plugin.
type monitor struct {
	rt       *agent.Runtime
	out      *outbox
	settings config.PluginFile
	plugin   *plugin.Plugin // nil when it cannot be used
	begun    int            // the plugins' generation in which it was made
	release  func()         // gives the plugin's version back
	restarts *telemetry.Counter
	samples  *telemetry.Histogram
	after    *monitor      // what it takes the place of; nil: nothing
	done     chan struct{} // closed when it has ended
	news     chan<- struct{}
	wish     atomic.Int64 // nanoseconds between two looks that the plugin asks for; 0: it does not, or has not been asked

	mu      sync.Mutex // guards the fields below
	born    time.Time  // it, or what it took the place of
	freshAt time.Time  // when it last looked with success; zero: not yet
	info    api.MonitorInfo
	look    *trace.Span // of the look under way
	told    int         // events in it
	started bool
	retired bool
	gone    bool            // nothing takes its place
	going   context.Context // ends when it is to begin nothing more
	end     context.CancelFunc
	wanted  context.Context // ends when what it does is to end too, within closeGrace
	unwant  context.CancelFunc
}

func (m *monitor) condition() string { return "monitor_" + m.settings.Name }

// start reports whether the monitor has to be run, once.
func (m *monitor) start(ctx context.Context) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started {
		return false
	}
	m.started = true
	m.wanted, m.unwant = context.WithCancel(ctx)
	m.going, m.end = context.WithCancel(m.wanted)
	if m.retired {
		m.end()
	}
	return true
}

// retire lets the monitor finish what it does and begin nothing more.
func (m *monitor) retire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = true
	if m.end != nil {
		m.end()
	}
}

// expel retires a monitor whose plugin is not to run any more: disabled, blocked, removed or not
// asked for. What it is at ends within closeGrace.
func (m *monitor) expel() {
	m.retire()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unwant != nil {
		m.unwant()
	}
}

// dismiss expels a monitor that nothing takes the place of.
func (m *monitor) dismiss() {
	m.mu.Lock()
	m.gone = true
	m.mu.Unlock()
	m.expel()
	m.clearGone()
}

// clearGone forgets what a monitor that is not there any more complained of.
func (m *monitor) clearGone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		m.rt.Health.Clear(m.condition())
	}
}

// run keeps the monitor's plugin running until it is retired or ctx ends. It begins when
// what it takes the place of has ended.
func (m *monitor) run(ctx context.Context) {
	defer close(m.done)
	defer m.clearGone()
	defer m.unwant()
	defer m.release()
	if m.after != nil {
		m.after.wait()
		m.after = nil
	}
	if m.plugin == nil {
		return
	}
	work := m.sample
	if m.plugin.Runtime.Contract == plugin.Script {
		work = m.stream
	}
	agent.Keep(m.going, agent.KeepPolicy{OnState: m.tell}, func(_ context.Context, up func()) error { return work(ctx, up) })
}

// wait returns when the monitor has ended. One that was never started has.
func (m *monitor) wait() {
	m.mu.Lock()
	started := m.started
	m.mu.Unlock()
	if started {
		<-m.done
		return
	}
	if m.after != nil {
		m.after.wait()
	}
	m.release()
}

// tell keeps the monitor's state where people look for it.
func (m *monitor) tell(s agent.KeepState) {
	m.mu.Lock()
	changed := m.info.State != string(s.Phase) || m.info.Message != s.Reason
	m.info.State, m.info.Message = string(s.Phase), s.Reason
	m.mu.Unlock()
	condition := m.condition()
	switch s.Phase {
	case agent.MonitorRunning:
		m.rt.Health.Clear(condition)
	case agent.MonitorWaiting:
		if m.going.Err() == nil {
			m.rt.Plugins.Broke(m.plugin, "monitor "+m.settings.Name+": "+s.Reason)
		}
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
	if strings.HasPrefix(e.Type, ownEvents) {
		return "", fmt.Errorf("event %.80s: types that begin with %s are the agent's own: choose another", e.Type, ownEvents)
	}
	e.Source, e.Monitor, e.TraceParent = string(m.plugin.ID), m.settings.Name, m.during()
	return m.out.accept(ctx, e)
}

// keepAgain is how soon an event is offered once more that could not be stored.
const keepAgain = time.Second

// keep takes an event that the plugin will not tell again: a full spool or disk blocks the
// monitor until there is room or it ends.
func (m *monitor) keep(ctx context.Context, e api.Event) error {
	for {
		_, err := m.accept(ctx, e)
		if _, later := errors.AsType[*notStored](err); !later || ctx.Err() != nil {
			return err
		}
		m.say(err.Error())
		select {
		case <-ctx.Done():
			return err
		case <-time.After(keepAgain):
		}
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
func (m *monitor) stream(_ context.Context, up func()) error {
	up()
	return m.rt.Plugins.Stream(m.going, m.task())
}

// closeGrace is what a plugin gets at the end, to finish what it does.
const closeGrace = 5 * time.Second

// sample asks the plugin for triggers at every interval. It returns when the plugin
// breaks its contract; an answer without success is logged and not the end.
func (m *monitor) sample(ctx context.Context, up func()) error {
	// A look that has begun when the agent or the plugin is to end is finished: what it found is told
	// never again.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(m.wanted, func() { time.AfterFunc(closeGrace, end) })()
	return m.rt.Plugins.Sense(life, m.task(), closeGrace, func(s *agent.Session) error {
		up()
		m.wish.Store(int64(s.Info().Interval))
		pause := jitter(m.interval()/20, 1) // monitors that start together do not sample together
		for {
			select {
			case <-m.going.Done():
				return nil
			case <-s.Done():
				return s.Err()
			case <-time.After(pause):
			}
			begin := time.Now()
			if err := m.once(life, s); err != nil {
				return err
			}
			took := time.Since(begin)
			m.samples.Observe(took.Seconds())
			pause = max(jitter(m.interval(), 0.1)-took, 0)
		}
	})
}

// interval is the time between two looks: what the owner or workflow says, else what the
// plugin wishes.
func (m *monitor) interval() time.Duration {
	wish := time.Duration(m.wish.Load())
	if wish > 0 {
		wish = max(wish, config.MinMonitorInterval)
	}
	return cmp.Or(m.settings.Interval.Duration(), wish, config.DefaultMonitorInterval)
}

// jitter is a duration that is longer or shorter by up to a part of it: what begins
// together does not stay together.
func jitter(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 + part*(2*rand.Float64()-1)))
}

// once is one look. The error ends the session.
func (m *monitor) once(ctx context.Context, s *agent.Session) error {
	limit := m.rt.Config().Plugins.Timeout.Duration()
	for _, own := range []time.Duration{m.settings.Timeout.Duration(), m.plugin.Limits.ExecutionTime} {
		if own > 0 {
			limit = min(limit, own)
		}
	}
	looking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m.beginLook()
	events, err := s.Detect(looking)
	if ended := s.Err(); ended != nil && errors.Is(err, ended) { // before it answered: what an answer brought is kept
		m.endLook(ended)
		return ended
	}
	for _, e := range events { // beside ones that cannot be read there may be good ones
		err = errors.Join(err, m.keep(ctx, e))
	}
	m.endLook(err)
	m.mu.Lock()
	m.info.LastRun = api.At(time.Now())
	m.mu.Unlock()
	if err == nil {
		m.looked(time.Now())
		m.rt.Health.Clear(m.condition())
		m.say("")
		return s.Err()
	}
	if m.say(err.Error()) { // once per reason
		m.rt.Log.Warn("monitor failed to look", telemetry.KeyMonitor, m.settings.Name, telemetry.KeyError, err)
	}
	m.rt.Health.Set(m.condition(), agent.Degraded, false, "monitor "+m.settings.Name+": "+err.Error(), "see logs/plugins/"+string(m.plugin.ID)+".log")
	return s.Err()
}
