package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/simulated"
	"github.com/stavily/agents/shared/pkg/api"
)

// Outcome is what a life has come to.
type Outcome struct {
	Violations []string
	Events     int // that were accepted
	Begins     int // of plugins
	Deaths     int // of processes
	Simulated  time.Duration
}

// Live runs one life in a bubble of package synctest, whose clock it moves on.
func Live(o Options) (out Outcome, err error) {
	enough, stop := context.WithCancel(context.Background())
	w := &world{Options: o, driver: rand.New(rand.NewPCG(o.Seed, 1)), begin: time.Now(), enough: enough, labels: map[string]string{}, history: newHistory(), log: slog.New(slog.DiscardHandler)}
	dir := filepath.Join(o.Dir, "server")
	if err := copyTree(o.Origin.Dir, dir); err != nil {
		stop()
		return out, err
	}
	p := w.choose()
	w.startServer(dir, 1)
	for n, id := range append(sensors[:len(sensors):len(sensors)], actors...) {
		typ := api.Sensor
		if n >= len(sensors) {
			typ = api.Action
		}
		host := &node{id: id, typ: typ}
		w.nodes = append(w.nodes, host)
		w.startAgent(host, filepath.Join(o.Dir, string(id)), 1)
	}
	for time.Since(w.begin) < o.Length {
		time.Sleep(time.Duration(w.driver.ExpFloat64() * float64(pace)))
		w.step(p)
	}
	w.settle()
	stop()
	w.living.Wait()
	synctest.Wait()
	out.Violations, out.Events, out.Simulated = w.history.violated, len(w.history.accepted), time.Since(w.begin)
	for _, n := range w.history.begun {
		out.Begins += n
	}
	out.Deaths = w.copies
	return out, errors.Join(w.failed...)
}

// pace is how often something happens from outside, on average.
const pace = 40 * time.Second

// act is something that happens from outside.
type act struct {
	weight float64
	do     func(*world)
}

// choose decides which harm this life has: with all of it at once some would hide others.
func (w *world) choose() []act {
	r := w.driver
	some := func(p float64) bool { return chance(r, p) }
	acts := []act{{10, (*world).report}, {1, (*world).look}}
	harms := []act{{4, (*world).killAgent}, {2, (*world).killServer}, {3, (*world).doomServer}, {3, (*world).cutOff}}
	if some(0.1) {
		harms = nil // clocks alone
	} else {
		w.rates = rates{loss: pick(r, 0, 0.02, 0.15), double: pick(r, 0, 0.05, 0.2), delay: pick(r, 0, 0.01, 0.05), kill: pick(r, 0, 0.005, 0.02)}
		w.history.harmed = true
	}
	for _, a := range harms {
		if some(0.6) {
			acts = append(acts, a)
		}
	}
	if harms == nil || some(0.5) {
		acts = append(acts, act{3, (*world).setClock})
	}
	if harms != nil && some(0.3) {
		acts = append(acts, act{2, (*world).cancel})
	}
	return acts
}

func pick(r *rand.Rand, of ...float64) float64 { return of[r.IntN(len(of))] }

// step has one thing happen.
func (w *world) step(acts []act) {
	total := 0.0
	for _, a := range acts {
		total += a.weight
	}
	at := w.driver.Float64() * total
	for _, a := range acts {
		if at -= a.weight; at < 0 {
			a.do(w)
			return
		}
	}
}

// report has a sensor's plugin report an event, one time in three.
func (w *world) report() {
	n, kind := w.nodes[w.driver.IntN(len(sensors))], "alpha"
	if chance(w.driver, 0.5) {
		kind = "beta"
	}
	l := n.life.Load()
	if l == nil || l.dead.Load() {
		return
	}
	if sensor := l.sensor.Load(); sensor != nil && chance(w.driver, 0.4) {
		w.events++
		l.emit(sensor, w.events, kind)
	}
}

func (w *world) look() {
	if s, ok := w.state(); ok {
		w.observe(s)
	}
}

// state is what operators see, when the server is there.
func (w *world) state() (simulated.State, bool) {
	server := w.up()
	if server == nil {
		return simulated.State{}, false
	}
	s, err := server.State(server.ctx, sensors)
	if err != nil && server.ctx.Err() == nil {
		w.fail("look", err)
	}
	return s, err == nil
}

func (w *world) killAgent() {
	if l := w.nodes[w.driver.IntN(len(w.nodes))].life.Load(); l != nil {
		l.kill("at some time")
	}
}

func (w *world) killServer() {
	if s := w.up(); s != nil {
		s.kill()
	}
}

// doomServer has the server die around one of the next commits.
func (w *world) doomServer() {
	if s := w.up(); s != nil {
		s.doom.Store(int64(1 + w.driver.IntN(8)))
	}
}

// cutOff takes an agent's network away for a while.
func (w *world) cutOff() {
	n, d := w.nodes[w.driver.IntN(len(w.nodes))], span(w.driver, time.Second, 4*lease)
	w.note("%s is cut off for %v", n.id, d)
	n.cut.Store(true)
	w.living.Go(func() {
		sleep(w.enough, d)
		n.cut.Store(false)
	})
}

// setClock sets the clock on a host's wall, mostly the server's, by as much as R16 names, or right.
func (w *world) setClock() {
	c, whose := &w.clock, "server"
	if chance(w.driver, 0.5) {
		n := w.nodes[w.driver.IntN(len(w.nodes))]
		c, whose = &n.clock, string(n.id)
	}
	by := []time.Duration{time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour}[w.driver.IntN(3)]
	switch w.driver.IntN(3) {
	case 0:
		by = -by
	case 1:
		by = 0
	}
	w.note("the clock of %s is set off by %v", whose, by)
	if whose == "server" && by > 80*24*time.Hour {
		w.history.lockedOut = true // certificates have ended by that clock, and work waits
	}
	c.set(by)
}

func (w *world) cancel() {
	s, ok := w.state()
	if !ok || len(s.Runs) == 0 {
		return
	}
	id := s.Runs[w.driver.IntN(len(s.Runs))].ID
	w.note("run %s is cancelled", w.label(string(id)))
	server := w.up()
	if err := server.Cancel(server.ctx, id); err != nil && api.CodeOf(err) != api.CodeConflict && server.ctx.Err() == nil {
		w.fail("cancel", err)
	}
}

// patience is how long everything may take to come to its end once no harm is done: what was
// to expire does, and pauses after failures have ended.
const patience = 2 * time.Hour

// settle ends all harm and waits until everything has come to its end.
func (w *world) settle() {
	w.calm.Store(true)
	w.note("calm")
	if s := w.up(); s != nil {
		s.doom.Store(0)
	}
	w.clock.set(0)
	for _, n := range w.nodes {
		n.clock.set(0)
	}
	for waited := time.Duration(0); ; waited += pace {
		time.Sleep(pace)
		s, ok := w.state()
		if ok && (w.settled(s) || waited > patience) {
			time.Sleep(pace) // whoever has something to add does
			if s, ok = w.state(); !ok {
				continue
			}
			w.judge(s)
			w.balance()
			if server := w.up(); server != nil {
				findings, err := server.Check(server.ctx)
				w.fail("fsck", err)
				w.broken("HistoryEqualsState", findings...)
			}
			return
		}
		if waited > 2*patience {
			w.fail("settle", errors.New("the server did not come back"))
			return
		}
	}
}

// add sums outcomes up.
func (o *Outcome) add(other Outcome) {
	o.Events += other.Events
	o.Begins += other.Begins
	o.Deaths += other.Deaths
	o.Simulated += other.Simulated
}

// String is the outcome in a line.
func (o Outcome) String() string {
	text := fmt.Sprintf("%d events, %d executions, %d deaths in %v", o.Events, o.Begins, o.Deaths, o.Simulated.Round(time.Second))
	if len(o.Violations) > 0 {
		text += "\n  " + strings.Join(o.Violations, "\n  ")
	}
	return text
}
