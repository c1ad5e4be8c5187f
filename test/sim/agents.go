package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	actionagent "github.com/stavily/agents/action-agent/simulated"
	sensoragent "github.com/stavily/agents/sensor-agent/simulated"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
)

// node is the host of an agent.
type node struct {
	id    api.AgentID
	typ   api.AgentType
	clock clock
	cut   atomic.Bool // nothing goes to the server or comes from it
	life  atomic.Pointer[life]
}

// life is one of an agent's process.
type life struct {
	*node
	w      *world
	number int
	dir    string
	ctx    context.Context
	end    context.CancelFunc
	dead   atomic.Bool
	clocks atomic.Int64                      // times that its clock was looked at
	sensor atomic.Pointer[sensoragent.Agent] // nil: it is an action agent, or one that is being opened
}

func (l *life) name() string { return fmt.Sprint(l.id, ".", l.number) }

// startAgent starts an agent over what is on its disk.
func (w *world) startAgent(n *node, dir string, number int) {
	l := &life{node: n, w: w, number: number, dir: dir}
	l.ctx, l.end = context.WithCancel(w.enough)
	bare := agent.Bare{
		ID: n.id, BaseDir: dir, Log: w.log, Now: l.now, Random: l.random, Transport: &link{life: l, sent: map[string]int{}},
		Environ: []string{"STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=100", "STAVILY_API_TIMEOUT=30s"},
	}
	w.note("%s starts", l.name())
	n.life.Store(l)
	if n.typ == api.Action {
		w.living.Go(func() {
			l.ended(actionagent.Run(l.ctx, actionagent.Options{Bare: bare, Prepare: l.prepare, Execute: l.execute}))
		})
		return
	}
	sensor, err := sensoragent.Open(bare)
	if err != nil {
		w.fail("start "+l.name(), err)
		return
	}
	l.sensor.Store(sensor)
	w.living.Go(func() {
		err := sensor.Run(l.ctx)
		l.ended(errors.Join(err, sensor.Close()))
	})
}

// ended hears that the process has ended, which only a kill may do, or the end of all.
func (l *life) ended(err error) {
	if !l.dead.Load() && l.w.enough.Err() == nil {
		l.w.fail(l.name()+" ended", errors.Join(err, errors.New("nobody had killed it")))
	}
}

// now is the clock on the wall, which is looked at before every record: the process may die there.
func (l *life) now() time.Time {
	if !l.dead.Load() && l.w.harm(l.w.draw("clock", l.name(), l.clocks.Add(1)), l.w.rates.kill) {
		l.kill("before a record")
	}
	return l.clock.now()
}

// random goes by the moment: several loops that draw in one get the same, in whatever order.
func (l *life) random() float64 { return l.w.draw("random", l.name(), time.Since(l.w.begin)).Float64() }

// kill ends the process at this moment. The next one begins later, over the files as they are
// now; what this one still does reaches neither them nor the network.
func (l *life) kill(where string) {
	if l.dead.Swap(true) {
		return
	}
	w := l.w
	w.note("%s dies %s", l.name(), where)
	next := w.copyDir(l.dir)
	r := w.draw("down", l.name())
	if chance(r, 0.3) {
		w.fail("tear", tear(next, 1+r.IntN(40)))
	}
	l.end()
	down := span(r, time.Millisecond, 5*time.Second)
	if chance(r, 0.2) {
		down = span(r, time.Second, 4*lease)
	}
	w.living.Go(func() {
		time.Sleep(down)
		if w.enough.Err() == nil {
			w.startAgent(l.node, next, l.number+1)
		}
	})
}

// tear leaves the beginning of a record behind the last that was confirmed, as a write that the
// end of the process or of the power cut short.
func tear(dir string, bytes int) error {
	segments, err := filepath.Glob(filepath.Join(dir, "data", "*", "*.wal"))
	if err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(dir, "data", "*", "log", "*.wal"))
	if segments = append(segments, logs...); err != nil || len(segments) == 0 {
		return err
	}
	f, err := os.OpenFile(segments[len(segments)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, bytes))
	return errors.Join(err, f.Close())
}

// prepare is how long the process of a plugin takes until it waits for its command: in some lives
// now and then longer than a lease, which is renewed meanwhile, or than the attempt's whole time.
func (l *life) prepare(ctx context.Context, i *api.Instruction) {
	w := l.w
	d := w.draw("prepare", l.name(), w.label(string(i.ID)), i.Attempt)
	switch {
	case !chance(w.draw("slow processes"), 0.3):
	case w.history.harmed && w.harm(d, 0.02):
		sleep(ctx, span(d, lifetime/2, 2*lifetime))
	case chance(d, 0.05):
		sleep(ctx, span(d, time.Second, 2*lease))
	}
}

// execute stands for the process of a plugin: it has its effect at its beginning and tells at
// its end.
func (l *life) execute(ctx context.Context, i *api.Instruction) api.Result {
	w := l.w
	d := w.draw("execute", l.name(), w.label(string(i.ID)), i.Attempt)
	if w.harm(d, w.rates.kill) {
		l.kill("before a plugin begins")
	}
	if l.dead.Load() {
		return api.Result{Status: api.Failed}
	}
	w.beganAttempt(l, i)
	w.note("%s begins %s attempt %d", l.name(), w.label(string(i.ID)), i.Attempt)
	took := span(d, time.Millisecond, 5*time.Second)
	if chance(d, 0.1) {
		took = span(d, lease, 4*lease)
	}
	fails, dies := chance(d, 0.1), w.harm(d, w.rates.kill)
	begin := time.Now()
	if !sleep(ctx, took) {
		w.endedAttempt(l, i, api.Cancelled)
		return api.Result{Status: api.Cancelled, StartedAt: api.At(begin), FinishedAt: api.At(time.Now())}
	}
	if l.dead.Load() {
		return api.Result{Status: api.Failed}
	}
	status, code := api.Completed, 0
	if fails {
		status, code = api.Failed, 1
	}
	w.endedAttempt(l, i, status)
	w.note("%s ends %s attempt %d as %s", l.name(), w.label(string(i.ID)), i.Attempt, status)
	if dies {
		l.kill("when a plugin has ended")
	}
	return api.Result{Status: status, ExitCode: &code, StartedAt: api.At(begin), FinishedAt: api.At(time.Now()), DurationMS: took.Milliseconds()}
}

// emit has a plugin of the sensor report an event.
func (l *life) emit(sensor *sensoragent.Agent, n int, kind string) {
	e := api.Event{
		Type: kind, Severity: api.Low, Timestamp: api.At(l.clock.now()),
		Data: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(n))},
	}
	l.w.living.Go(func() {
		id, err := sensor.Emit(l.ctx, e)
		if l.dead.Load() || l.ctx.Err() != nil { // the plugin was told nothing
			return
		}
		l.w.fail("emit", err)
		l.w.history.accept(accepted{n, kind, l.id, id, time.Now()})
		l.w.note("%s takes event %d (%s)", l.name(), n, kind)
	})
}
