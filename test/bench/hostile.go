package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// What honest agents may notice of others: docs/guarantees.md S8 and S9.
const (
	mostBesideSlow  = 2   // times their p99 alone
	mostBesideFlood = 1.5 // the same
	mostSlowLife    = 10  // s, of a connection that sends nothing of use
	mostOfAddress   = 64  // connections without a certificate
	mostGuesses     = 1.2 // enrolments tried a second by one address, answered other than by 429
	guessBurst      = 24  // and those before it is held up, with those that are looked at by then

	enough    = 0.95 // of a flood's rate is to be offered
	leastTime = 25   // % of the processor time that an attacker asks for: with less it is no attack
)

// attacks are the floods that one agent or one address can make. An event is a call and a record of its own.
var attacks = []attack{
	{"one agent's events", "events", 10_000, 0, (*flood).events},
	{"a storm of polls", "polls", 6000, 0, (*flood).polls},
	{"a flood of logs", "batches of logs", 2000, 0, (*flood).logs},
	{"guesses of enrolment tokens", "guesses", 6000, mostGuesses, (*flood).guesses},
}

type attack struct {
	name, what string
	rate       float64 // calls that are offered a second
	served     float64 // of them at most; 0: no promise
	call       func(*flood, context.Context, int64) error
}

// hostile measures how long the calls of honest agents take alone, beside thousands of slow
// connections, and beside each flood that one agent or one stranger can make.
func hostile(ctx context.Context, b *bench) ([]Figure, error) {
	var specs []simagents.Spec
	for n := range b.agents {
		specs = append(specs, simagents.Spec{ID: api.AgentID(fmt.Sprintf("honest-%d", n)), Type: api.Sensor, Host: "host"})
	}
	agents, err := simagents.Enrol(ctx, b.simulated(), specs, nil)
	if err != nil {
		return nil, err
	}
	defer simagents.Close(agents)
	w := &beside{honest: agents}
	if _, err := w.calls(ctx, b.flooded, nil); err != nil { // what is done once is done
		return nil, err
	}
	var alone []float64
	tails, came := map[string][]float64{}, map[string][]Figure{}
	for range b.rounds {
		for _, o := range b.orders() {
			tail, err := w.calls(ctx, b.flooded, nil) // before each, as the machine changes
			if err != nil {
				return nil, err
			}
			alone = append(alone, tail)
			tail, figures, err := b.attacked(ctx, w, o)
			if err != nil {
				return nil, err
			}
			tails[o.Attack], came[o.Attack] = append(tails[o.Attack], tail), worst(came[o.Attack], figures)
		}
	}
	figures := []Figure{{fmt.Sprintf("%d honest agents alone, an event until acknowledged, p99", b.agents), middle(alone), "ms", 0, 0}}
	for _, o := range b.orders() {
		most := mostBesideFlood
		if o.Attack == slowly {
			most = mostBesideSlow
		}
		figures = append(figures, Figure{"p99 beside " + o.Attack, middle(tails[o.Attack]), "ms", 0, 0}, Figure{"times that alone", middle(tails[o.Attack]) / middle(alone), "×", most, 0})
		figures = append(figures, came[o.Attack]...)
	}
	if !b.real {
		return figures, nil
	}
	return figures, weak(figures)
}

// orders are all attacks, as they are told to attackers.
func (b *bench) orders() []order {
	out := []order{{Attack: slowly, Server: b.simulated(), Slow: b.slow, Over: b.slowed}}
	for _, a := range attacks {
		out = append(out, order{Attack: a.name, Server: b.simulated(), Over: b.flooded})
	}
	return out
}

// attacked is how honest agents fare during one attack, what came of that, and what it cost the server.
func (b *bench) attacked(ctx context.Context, w *beside, o order) (tail float64, figures []Figure, err error) {
	a, err := b.attack(ctx, o)
	if err != nil {
		return 0, nil, err
	}
	server := b.Process(cluster.ServerName).Pid()
	before := cpuSeconds(server)
	if tail, err = w.calls(ctx, o.Over, a.during); err != nil {
		return 0, nil, err
	}
	spent := cpuSeconds(server) - before
	figures, err = a.came()
	return tail, append(figures, Figure{"server CPU, of one core", spent / o.Over.Seconds() * 100, "%", 0, 0}), err
}

// worst takes of the figures of two rounds those that are worse: the larger ones, but the smaller
// of those that must be large.
func worst(one, other []Figure) []Figure {
	if one == nil {
		return other
	}
	for i := range one {
		if one[i].Least > 0 {
			one[i].Value = min(one[i].Value, other[i].Value)
		} else {
			one[i].Value = max(one[i].Value, other[i].Value)
		}
	}
	return one
}

// weak is an error where an attack was less than was promised to be borne: that measures nothing.
func weak(figures []Figure) (err error) {
	for _, f := range figures {
		if f.Least > 0 && f.Value < f.Least {
			err = errors.Join(err, fmt.Errorf("%s: %.0f %s, which is no attack: at least %.0f", f.Name, f.Value, f.Unit, f.Least))
		}
	}
	return err
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// stranger is the TLS of one who has no certificate.
func stranger(s simagents.Server) (*tls.Config, error) {
	ca, err := os.ReadFile(filepath.Join(s.DataDir, "ca", "ca.crt"))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, ServerName: u.Hostname()}, nil
}

// beside is the honest agents, each of which posts ten events a second.
type beside struct {
	honest []*simagents.Agent
	seq    atomic.Int64
}

// calls returns the p99 in ms of what honest agents wait for acknowledgements in so long a time,
// while during goes on.
func (w *beside) calls(ctx context.Context, long time.Duration, during func(context.Context) error) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others errgroup.Group
	if during != nil {
		others.Go(func() error { return during(ctx) })
	}
	var mu sync.Mutex
	var took []float64
	begin := time.Now()
	var group errgroup.Group
	for i, a := range w.honest {
		group.Go(func() error {
			next := begin.Add(100 * time.Millisecond * time.Duration(i) / time.Duration(len(w.honest)))
			for time.Since(begin) < long {
				if err := sleep(ctx, time.Until(next)); err != nil {
					return err
				}
				next = next.Add(100 * time.Millisecond)
				sent := time.Now()
				if err := a.Post(ctx, "bench.honest", int(w.seq.Add(1))); err != nil {
					return fmt.Errorf("honest agent %s: %w", a.ID, err)
				}
				mu.Lock()
				took = append(took, float64(time.Since(sent))/float64(time.Millisecond))
				mu.Unlock()
			}
			return nil
		})
	}
	err := group.Wait()
	cancel()
	err = errors.Join(err, others.Wait())
	slices.Sort(took)
	return quantile(took, 0.99), err
}

// flood is what one caller does, and what it was told.
type flood struct {
	attack         attack
	sensor, action *simagents.Agent

	offered, kept                  int64        // calls; those that were not begun, as so many waited for their answers
	served, refused, silent, other atomic.Int64 // answers: done; 429; that without Retry-After; none
	took                           time.Duration
}

// figures tells what came of a flood.
func (f *flood) figures() []Figure {
	seconds := f.took.Seconds()
	rate := func(n int64) float64 { return float64(n) / seconds }
	served := Figure{"served of them", rate(f.served.Load()), "a second", 0, 0}
	if f.attack.served > 0 {
		served.Most = f.attack.served + guessBurst/seconds
	}
	return []Figure{
		{f.attack.what + " offered", rate(f.offered), "a second", 0, enough * f.attack.rate},
		served,
		{"refused with 429", rate(f.refused.Load()), "a second", 0, 0},
		{fmt.Sprintf("not begun, as the server keeps %d waiting", callers), rate(f.kept), "a second", 0, 0},
		{"429 without Retry-After", float64(f.silent.Load()), "answers", 0, 0},
		{"calls without an answer", float64(f.other.Load()), "", 0, 0},
		{"time of processors that it asked for and got", granted(), "%", 0, leastTime},
	}
}

// callers is how many calls of a flood wait for their answers at a time: as many as streams of an agent's
// connection. With more its client would hold them up and not the server.
const callers = 64

// storm makes calls at the attack's rate until ctx ends.
func (f *flood) storm(ctx context.Context) error {
	begin := time.Now()
	var group errgroup.Group
	group.SetLimit(callers)
	pause := time.Duration(float64(time.Second) / f.attack.rate)
	for next := begin; ctx.Err() == nil; next = next.Add(pause) {
		switch late := time.Since(next); {
		case late < -time.Millisecond: // a sleep for each call would cost more than the call
			_ = sleep(ctx, -late)
		case late > 100*time.Millisecond: // what this machine does not let it do counts as not offered
			next = time.Now()
		}
		n := f.offered
		f.offered++
		if !group.TryGo(func() error { return f.one(ctx, n) }) {
			f.kept++
		}
	}
	f.took = time.Since(begin)
	return group.Wait()
}

func (f *flood) one(ctx context.Context, n int64) error {
	err := f.attack.call(f, ctx, n)
	var refusal *api.Error
	switch {
	case err == nil:
		f.served.Add(1)
	case ctx.Err() != nil:
	case errors.As(err, &refusal) && refusal.HTTPStatus == http.StatusTooManyRequests:
		f.refused.Add(1)
		if refusal.RetryAfter == 0 {
			f.silent.Add(1)
		}
	case errors.As(err, &refusal): // another refusal is an answer too
		f.served.Add(1)
	default:
		f.other.Add(1)
	}
	return nil
}

// events hands in single events.
func (f *flood) events(ctx context.Context, n int64) error {
	return f.sensor.Post(ctx, "bench.flood", int(n))
}

func (f *flood) polls(ctx context.Context, _ int64) error {
	_, err := f.action.Poll(ctx, 0, 1)
	return err
}

// lines of a plugin that says too much.
var lines = slices.Repeat([]api.LogEntry{{Message: "a line of a plugin that says too much"}}, 500)

// logs hands in batches of which every line is stored.
func (f *flood) logs(ctx context.Context, _ int64) error {
	_, err := f.action.Logs(ctx, api.LogBatch{Logs: lines})
	return err
}

// guesses tries tokens for enrolment.
func (f *flood) guesses(ctx context.Context, n int64) error {
	_, err := f.action.Enroll(ctx, fmt.Sprintf("stv_enroll_%032d", n), api.EnrollRequest{AgentID: "guess", AgentType: api.Sensor, CSRPEM: "none"})
	return err
}
