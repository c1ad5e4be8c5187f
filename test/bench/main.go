// The benchmarks of the system as a whole: real processes, mutual TLS, fsync on.
//
//	go run ./test/bench           a table, then the same as JSON on the last line
//	go run ./test/bench -quick    smaller counts, to see that it works
//	go run ./test/bench -only idle
//
// Build first: it runs the programs in bin/.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Most  float64 `json:"most,omitempty"`  // what it may be; 0: no promise
	Least float64 `json:"least,omitempty"` // what it must be; 0: no promise
}

// verdict compares a figure with what was promised.
func (f *Figure) verdict() string {
	switch {
	case f.Most == 0 && f.Least == 0:
		return ""
	case f.Least > 0 && f.Value < f.Least:
		return fmt.Sprintf("MISSED: at least %g", f.Least)
	case f.Least > 0:
		return fmt.Sprintf("at least %g", f.Least)
	case f.Value > f.Most:
		return fmt.Sprintf("MISSED: at most %g", f.Most)
	}
	return fmt.Sprintf("at most %g", f.Most)
}

// scale says how much is measured.
type scale struct {
	events int           // latency samples
	pause  time.Duration // between them
	idle   time.Duration // for which idle processes are watched
	intake time.Duration // for which events are pushed
	agents int           // that push
	fleet  int           // agents that only wait
	settle time.Duration // from the last enrolment, which leaves garbage, until polls were answered once each
	warmUp time.Duration // before runs are counted

	others     int // agents that are connected while events are posted
	rate       int // of these events, a second
	warmEvents int // before those that are measured
	posts      int

	waiting int           // events in the spool of an agent whose server was away
	slow    int           // connections that send nothing of use
	slowed  time.Duration // for which they come and stay
	flooded time.Duration // for which each flood lasts
	rounds  int           // of all attacks, of which the middle one counts
	real    bool          // an attack that is too weak to be one is an error

	back   int           // agents whose server is away
	outage time.Duration // for which it is
}

// pause leaves an agent's default rate limit (10 calls a second) alone: an instruction
// takes three calls (poll, claim, result).
const pause = 350 * time.Millisecond

var (
	full  = scale{events: 250, pause: pause, idle: time.Minute, intake: 15 * time.Second, agents: 20, fleet: 10000, settle: asConfigured.PollWait + 20*time.Second, warmUp: 3 * time.Second, others: 1000, warmEvents: 250, posts: 1500, waiting: 1_000_000, slow: 3000, slowed: 15 * time.Second, flooded: 6 * time.Second, rounds: 5, real: true, back: 500, outage: 3 * time.Minute}
	quick = scale{events: 10, pause: pause, idle: 3 * time.Second, intake: 2 * time.Second, agents: 4, fleet: 100, settle: 2 * time.Second, warmUp: time.Second, others: 50, warmEvents: 50, posts: 100, waiting: 20_000, slow: 200, slowed: 4 * time.Second, flooded: time.Second, rounds: 1, back: 20, outage: time.Second}
)

func main() {
	bin := flag.String("bin", "bin", "directory of the programs")
	python := flag.String("python", "python3", "interpreter of the plugins: its own start is most of the latency")
	small := flag.Bool("quick", false, "small counts, to see that it works")
	fleet := flag.Int("fleet", 0, "how many agents only wait; 0: as many as the scale says")
	rate := flag.Int("rate", perSecond, "events a second of busy, for as long: a machine that cannot do fifty says something of fewer")
	attack := flag.String("attack", "", "be an attacker, as this JSON says: for the benchmark's own use")
	only := flag.String("only", "", "the part whose name begins so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *attack != "" {
		if err := attackAs(ctx, *attack); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
		return
	}
	s := full
	if *small {
		s = quick
	}
	if *fleet > 0 {
		s.fleet = *fleet
	}
	if *rate < 1 {
		fmt.Fprintf(os.Stderr, "bench: -rate %d: must be at least 1\n", *rate)
		os.Exit(2)
	}
	s.rate, s.warmEvents, s.posts = *rate, max(1, s.warmEvents**rate/perSecond), max(1, s.posts**rate/perSecond)
	if err := measureAll(ctx, bench{bin: *bin, python: *python, scale: s}, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measureAll(ctx context.Context, b bench, only string) error {
	fmt.Printf("%s/%s, %d cores, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	var all []Figure
	for _, part := range []struct {
		name    string
		measure func(context.Context, *bench) ([]Figure, error)
		env     []string
	}{
		{"latency: event accepted by the agent → first statement of the action plugin (cold Python included)", latency, nil},
		{"busy: event posted → function of the action plugin called, sandboxed, among connected agents", busy, unlimited},
		{"idle: connected, no plugin running", idle, nil},
		{"fleet: connected agents that wait", connected, nil},
		{"throughput: event → instruction → claim → result, by simulated agents over mutual TLS", throughput, nil},
		{"intake: durable events over mutual TLS, synchronous=FULL", intake, nil},
		{"hostile: honest agents beside slow connections and floods", hostile, nil},
		{"return: connections of agents whose server was away", comeback, nil},
		{"backlog: a sensor agent whose server was away", backlog, roomy},
	} {
		if !strings.HasPrefix(part.name, only) {
			continue
		}
		fmt.Println(part.name)
		b.env = part.env
		figures, err := b.inCluster(ctx, part.measure)
		for _, f := range figures {
			fmt.Printf("  %-48s %12.2f %-9s %s\n", f.Name, f.Value, f.Unit, f.verdict())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Println()
		all = append(all, figures...)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}
