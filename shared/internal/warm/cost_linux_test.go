package warm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// The plugins whose starts are compared.
const (
	light = `
import json, re, time
import stavily

@stavily.action
def act(params, ctx):
    if params.get("sleep"):
        ctx.log.info("asleep")
        time.sleep(params.sleep)
    return {"called": time.monotonic_ns()}
`
	heavy = "import ssl, urllib.request, xml.dom.minidom, sqlite3, asyncio, decimal\n" + light
)

// TestCost prints what warm executions cost beside cold ones: medians of interleaved
// runs, so that a machine that slows down slows all of them. It runs where `make
// bench-sandbox` asks for it.
func TestCost(t *testing.T) {
	if os.Getenv("STAVILY_BENCH") == "" {
		t.Skip("run by make bench-sandbox")
	}
	rows := append(latencies(t), memory(t)...)
	fmt.Printf("\n%-68s %10s %10s %10s\n", "", "median", "p99", "× cold")
	for _, r := range rows {
		fmt.Printf("%-68s %10.2f %10.2f %10.3f\n", r.Name, r.Median, r.P99, r.Ratio)
	}
	if err := json.NewEncoder(os.Stdout).Encode(rows); err != nil {
		t.Fatal(err)
	}
}

// row is one line of the table. Times are in ms, sizes in MiB.
type row struct {
	Name   string  `json:"name"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99,omitempty"`
	Ratio  float64 `json:"ratio_to_cold"` // of the medians
}

func latencies(t *testing.T) []row {
	const rounds, burst = 30, 10
	const runs = rounds * burst
	type way struct {
		name string
		cold string // the way to compare with
		run  func() time.Duration
	}
	var ways []way
	parts := make([]stages, 0, 4) // pointed into
	for _, level := range []sandbox.Level{sandbox.Full, sandbox.Confined} {
		for _, p := range []struct{ name, program string }{{"light", light}, {"heavy", heavy}} {
			l := newLab(t, p.program, func(o *Options, plan *Plan) { plan.Spec.Level, o.Executions = level, 10*runs })
			l.warmUp()
			name := string(level) + ", " + p.name + ": "
			parts = append(parts, stages{name: name})
			part := &parts[len(parts)-1]
			ways = append(ways,
				way{name + "cold, to its end", "", func() time.Duration { return l.timed(l.cold) }},
				way{name + "forked, request → result", name + "cold, to its end", func() time.Duration { return l.alone(part) }},
				way{name + "forked, ten in a row, request → result", name + "cold, to its end", func() time.Duration { return l.toResult(&stages{}, false) }},
				way{name + "stood by, request → result", name + "cold, to its end", func() time.Duration { return l.toResult(&stages{}, true) }},
				way{name + "forked, to its end", name + "cold, to its end", func() time.Duration { return l.timed(l.warm) }},
			)
		}
	}
	persistent := newLab(t, light).persistent()
	ways = append(ways, way{"persistent stdio, one round trip", "full, light: cold, to its end", persistent})
	took := make([][]float64, len(ways))
	for range rounds {
		for i, w := range ways {
			for range burst {
				took[i] = append(took[i], float64(w.run().Microseconds())/1000)
			}
		}
	}
	medians := map[string]float64{}
	var out []row
	for i, w := range ways {
		slices.Sort(took[i])
		r := row{Name: w.name, Median: took[i][runs/2], P99: took[i][runs*99/100], Ratio: 1}
		medians[w.name] = r.Median
		if w.cold != "" {
			r.Ratio = r.Median / medians[w.cold]
		}
		out = append(out, r)
	}
	for _, p := range parts {
		out = append(out, p.rows()...)
	}
	return out
}

// stages are where the time of runs goes.
type stages struct {
	name string
	took [3][]float64 // ms
}

var stageNames = [3]string{"request → the process greets", "→ the plugin is called", "→ the answer is decoded"}

// note takes the times at which the stages of one run began and ended.
func (s *stages) note(at ...time.Duration) {
	for i := range s.took {
		s.took[i] = append(s.took[i], float64((at[i+1]-at[i]).Microseconds())/1000)
	}
}

func (s *stages) rows() []row {
	var out []row
	for i, took := range s.took {
		slices.Sort(took)
		out = append(out, row{Name: s.name + "of it " + stageNames[i], Median: took[len(took)/2], P99: took[len(took)*99/100]})
	}
	return out
}

// monotonic is the clock that a plugin's time.monotonic_ns() reads, too.
func (l *lab) monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		l.t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// pause is long enough for what is made ahead.
const pause = 20 * time.Millisecond

// alone is toResult of a run that comes by itself, as nearly all do: what was forked
// ahead of it is ready.
func (l *lab) alone(s *stages) time.Duration {
	time.Sleep(pause)
	return l.toResult(s, false)
}

// timed is how long an execution takes until nothing of it is left.
func (l *lab) timed(do func(context.Context, run) (supervise.ActionResult, error)) time.Duration {
	began := time.Now()
	r, err := do(l.t.Context(), run{})
	took := time.Since(began)
	if err != nil || r.Status != api.Completed {
		l.t.Fatalf("%+v, %v", r, err)
	}
	return took
}

// toResult is how long it takes from asking for an execution to having decoded what it
// answered; one that is made ahead stands by when it is asked for.
func (l *lab) toResult(s *stages, ahead bool) time.Duration {
	seat := l.pool.Seat(&l.plan)
	defer seat.Free()
	given, err := os.MkdirTemp(seat.Given(), "e")
	if err != nil {
		l.t.Fatal(err)
	}
	defer os.RemoveAll(given)
	a := run{}.action(l, seat.Temp())
	if a.Environment, err = seat.Environment(a.Spec.Env); err != nil {
		l.t.Fatal(err)
	}
	began := l.monotonic()
	if a.Standby, err = seat.Stand(a.Spec, given); err != nil {
		l.t.Fatal(err)
	}
	greeted := l.monotonic()
	if ahead {
		time.Sleep(pause)
		began = l.monotonic()
		greeted = began
	}
	var read time.Duration
	a.Answered = func(int) { read = l.monotonic() }
	r, err := supervise.RunAction(l.t.Context(), a)
	if err != nil || r.Status != api.Completed {
		l.t.Fatalf("%+v, %v", r, err)
	}
	var result struct{ Called time.Duration }
	if err := json.Unmarshal(r.Data, &result); err != nil {
		l.t.Fatal(err)
	}
	s.note(began, greeted, result.Called, read)
	return read - began
}

// persistent asks one process again and again, as sensors are.
func (l *lab) persistent() func() time.Duration {
	a := run{}.action(l, l.temp)
	a.Spec.Limits.Time = 0
	s, err := supervise.Open(l.t.Context(), a.Options)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close(time.Second) })
	return func() time.Duration {
		began := time.Now()
		if r, err := s.Call(l.t.Context(), plugin.Command{Action: plugin.GetHealth}); err != nil || !r.Success {
			l.t.Fatalf("%+v, %v", r, err)
		}
		return time.Since(began)
	}
}

// memory compares what 50 executions take that live at the same time.
func memory(t *testing.T) []row {
	const live = 50
	var sizes [2]float64
	for i, how := range []string{"cold", "warm"} {
		l := newLab(t, light)
		do := l.cold
		if how == "warm" {
			l.warmUp()
			do = l.warm
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var asleep lines
		for range live {
			running.Go(func() { do(ctx, run{parameters: `{"sleep": 600}`, log: &asleep}) }) // ended by ctx
		}
		l.eventually("all sleep", func() bool { return asleep.Load() == live })
		for _, pid := range family(l, how) {
			sizes[i] += pss(t, pid)
		}
		cancel()
		running.Wait()
	}
	return []row{
		{Name: "PSS of 50 live executions, cold, MiB", Median: sizes[0], Ratio: 1},
		{Name: "PSS of 50 live executions and their zygote, MiB", Median: sizes[1], Ratio: sizes[1] / sizes[0]},
	}
}

// family lists the processes of the plugin.
func family(l *lab, how string) []int {
	if how == "warm" {
		return sandbox.Family(l.pid())
	}
	return slices.DeleteFunc(sandbox.Family(os.Getpid()), func(pid int) bool { return pid == os.Getpid() || !isPython(pid) })
}

func isPython(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(b, []byte("main.py"))
}

// lines is a log that counts.
type lines struct{ atomic.Int64 }

func (n *lines) Line(string, string) { n.Add(1) }

// pss is the proportional size of a process in MiB (proc_pid_smaps(5)).
func pss(t *testing.T, pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("process %d tells no PSS", pid)
	return 0
}
