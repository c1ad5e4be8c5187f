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
)

// hostile measures how long the calls of honest agents take alone, beside thousands of slow
// connections, and beside each flood that one agent or one stranger can make.
func hostile(ctx context.Context, b *bench) ([]Figure, error) {
	var specs []simagents.Spec
	for n := range b.agents {
		specs = append(specs, simagents.Spec{ID: api.AgentID(fmt.Sprintf("honest-%d", n)), Type: api.Sensor, Host: "host"})
	}
	specs = append(specs, simagents.Spec{ID: "rogue-s", Type: api.Sensor}, simagents.Spec{ID: "rogue-a", Type: api.Action})
	agents, err := simagents.Enrol(ctx, b.simulated(), specs, nil)
	if err != nil {
		return nil, err
	}
	defer simagents.Close(agents)
	w := &beside{honest: agents[:b.agents], long: b.intake}
	if _, err := w.calls(ctx, nil); err != nil { // what is done once is done
		return nil, err
	}
	alone, err := w.calls(ctx, nil)
	if err != nil {
		return nil, err
	}
	figures := []Figure{{fmt.Sprintf("%d honest agents alone, an event until acknowledged, p99", b.agents), alone, "ms", 0, 0}}
	add := func(part string, most float64, during func(context.Context) error) {
		if err != nil {
			return
		}
		var tail float64
		if tail, err = w.calls(ctx, during); err == nil {
			figures = append(figures, Figure{"p99 beside " + part + ", times that", tail / alone, "×", most, 0})
		}
	}
	trust, err := b.stranger()
	if err != nil {
		return nil, err
	}
	s := &slow{url: b.URL(), trust: trust, want: b.slow, over: w.long}
	add(fmt.Sprintf("%d slow connections", b.slow), mostBesideSlow, s.hold)
	figures = append(figures, s.figures()...)
	rogue := &flood{sensor: agents[b.agents], action: agents[b.agents+1]}
	add("one agent's events", mostBesideFlood, rogue.events)
	figures = append(figures, rogue.figures("events of one agent")...)
	add("a storm of polls", mostBesideFlood, rogue.polls)
	figures = append(figures, rogue.figures("polls of one agent")...)
	add("a flood of logs", mostBesideFlood, rogue.logs)
	figures = append(figures, rogue.figures("batches of logs of one agent")...)
	add("guesses of enrolment tokens", mostBesideFlood, rogue.guesses)
	guesses := rogue.figures("guesses of one address")
	guesses[0].Most = mostGuesses
	return append(figures, guesses...), err
}

// stranger is the TLS of one who has no certificate.
func (b *bench) stranger() (*tls.Config, error) {
	ca, err := os.ReadFile(filepath.Join(b.DataDir(), "ca", "ca.crt"))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(b.URL())
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
	long   time.Duration
	seq    atomic.Int64
}

// calls returns the p99 in ms of what honest agents wait for acknowledgements while during
// goes on.
func (w *beside) calls(ctx context.Context, during func(context.Context) error) (float64, error) {
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
			for time.Since(begin) < w.long {
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

// flood is what one caller does as fast as it can, and what it was told.
type flood struct {
	sensor, action *simagents.Agent

	served, refused, silent atomic.Int64 // answers: done; 429; 429 without Retry-After
	took                    time.Duration
}

// figures tells what came of a flood and forgets it.
func (f *flood) figures(what string) []Figure {
	seconds := max(f.took.Seconds(), 0.001)
	out := []Figure{
		{"served of " + what, float64(f.served.Swap(0)) / seconds, "a second", 0, 0},
		{"refused of them with 429", float64(f.refused.Swap(0)) / seconds, "a second", 0, 0},
	}
	if n := f.silent.Swap(0); n > 0 {
		out = append(out, Figure{"429 without Retry-After", float64(n), "answers", 0, 0})
	}
	return out
}

// storm makes calls on several goroutines until ctx ends. weight is what one is worth.
func (f *flood) storm(ctx context.Context, weight int64, call func(context.Context, int64) error) error {
	const callers = 8
	begin := time.Now()
	defer func() { f.took = time.Since(begin) }()
	var group errgroup.Group
	var n atomic.Int64
	for range callers {
		group.Go(func() error {
			for ctx.Err() == nil {
				err := call(ctx, n.Add(1))
				var refusal *api.Error
				switch {
				case err == nil:
					f.served.Add(weight)
				case ctx.Err() != nil:
				case errors.As(err, &refusal) && refusal.HTTPStatus == http.StatusTooManyRequests:
					f.refused.Add(weight)
					if refusal.RetryAfter == 0 {
						f.silent.Add(1)
					}
				case errors.As(err, &refusal): // another refusal is an answer too
					f.served.Add(weight)
				default:
					return fmt.Errorf("flood: %w", err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// events hands in single events, of which each is a call and a record of its own.
func (f *flood) events(ctx context.Context) error {
	return f.storm(ctx, 1, func(ctx context.Context, n int64) error { return f.sensor.Post(ctx, "bench.flood", int(n)) })
}

func (f *flood) polls(ctx context.Context) error {
	return f.storm(ctx, 1, func(ctx context.Context, _ int64) error {
		_, err := f.action.Poll(ctx, 0, 1)
		return err
	})
}

// logs are of an instruction that is not this agent's: they have to be read to be refused.
func (f *flood) logs(ctx context.Context) error {
	lines := make([]api.LogEntry, 500)
	for i := range lines {
		lines[i] = api.LogEntry{Message: "a line of a plugin that says too much"}
	}
	return f.storm(ctx, 1, func(ctx context.Context, _ int64) error {
		_, err := f.action.Logs(ctx, api.LogBatch{Logs: lines})
		return err
	})
}

// guesses tries tokens for enrolment.
func (f *flood) guesses(ctx context.Context) error {
	return f.storm(ctx, 1, func(ctx context.Context, n int64) error {
		_, err := f.action.Enroll(ctx, fmt.Sprintf("stv_enroll_%032d", n), api.EnrollRequest{AgentID: "guess", AgentType: api.Sensor, CSRPEM: "none"})
		return err
	})
}
