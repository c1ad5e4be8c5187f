package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
)

// lease is short here, so that leases run out under the faults; calmLease is under weather that goes
// on and that an action can outlast, on a machine that is busy with all of it.
const (
	lease     = 3 * time.Second
	calmLease = 15 * time.Second
)

// options of the bench.
type options struct {
	bin, python string
	count       int // faults, or pairs of them, in each scenario
	seed        uint64
	keep        string // directory for what a broken run leaves
	verbose     bool

	rate     float64 // events that the sensor plugin tries to report in a second
	target   load
	patience time.Duration

	hold       time.Duration // of a full disk
	soak       time.Duration // of scenario soak, and of each class of partitions
	partitions bool          // the classes of weather, instead of the other scenarios
	pauses     bool          // those of R15, instead of the other scenarios
	longest    time.Duration // of them
	points     bool          // the scenario of failpoints, instead of the others
	most       int           // of its cells; 0: all
	match      string        // of its points, those with this in their path
	byName     bool          // of a program's points with one name only one
	worlds     int           // at a time, of pauses and of failpoints
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the programs")
	flag.StringVar(&o.python, "python", "python3", "interpreter of the plugins")
	flag.IntVar(&o.count, "count", 5, "faults in each scenario")
	figures := flag.Bool("figures", false, "as many faults in each scenario as the specification's figure for it, where it has one, and not -count; about two hours")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "what the faults are drawn from")
	flag.StringVar(&o.keep, "keep", "", "directory to keep everything in; by default only the history of a run in which a promise was broken is kept")
	flag.BoolVar(&o.verbose, "v", false, "print each fault")
	flag.Float64Var(&o.rate, "rate", 200, "events that the sensor plugin tries to report in a second; three of ten start an action")
	flag.Float64Var(&o.target.Events, "events", 100, "accepted events a second, below which the run fails")
	flag.Float64Var(&o.target.Instructions, "instructions", 20, "actions begun a second, below which the run fails")
	flag.DurationVar(&o.patience, "patience", 5*time.Minute, "until all that was accepted has come to its end")
	flag.DurationVar(&o.hold, "hold", 5*time.Second, "how long a disk of scenario full is full")
	flag.DurationVar(&o.soak, "soak", 10*time.Minute, "how long scenario soak takes, or -partitions")
	flag.BoolVar(&o.partitions, "partitions", false, "the classes of weather of networks, side by side, instead of the other scenarios")
	flag.BoolVar(&o.pauses, "pauses", false, "-count pauses of agents and servers from a second to -longest, instead of the other scenarios")
	flag.DurationVar(&o.longest, "longest", 10*time.Minute, "the longest of -pauses")
	flag.BoolVar(&o.points, "points", false, "fail at failpoints, of programs that were built with -tags failpoints; -count worlds, in each of which each action is done at each point")
	flag.IntVar(&o.most, "cells", 0, "with -points, how many actions at points in each world, of all that are drawn; 0 is all")
	flag.BoolVar(&o.byName, "by-name", false, "with -points, of the points of a program that have one name, for several files or calls, only one, which is drawn")
	flag.IntVar(&o.worlds, "worlds", 1, "with -pauses or -points, how many worlds there are side by side")
	flag.StringVar(&o.match, "match", "", "with -points, only those with this in program/name")
	only := flag.String("only", "", "the scenario whose name begins so")
	flag.Parse()
	if o.partitions {
		if err := isolate(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := runAll(ctx, o, *only, *figures); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, o options, only string, figures bool) error {
	fmt.Printf("%s/%s, %d cores, %s, seed %d\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), o.seed)
	fmt.Printf("%-10s %-13s %7s %9s %10s %13s %12s %9s  %s\n", "scenario", "for", "faults", "events", "events/s", "instructions", "per second", "attempts", "broken")
	switch {
	case o.partitions:
		return runPartitions(ctx, o, only)
	case o.pauses:
		return runPauses(ctx, o)
	case o.points:
		return runPoints(ctx, o)
	}
	var failed []string
	ran := 0
	for _, s := range scenarios {
		if !strings.HasPrefix(s.name, only) || (s.full || s.soak || s.faulty) && only == "" {
			continue
		}
		ran++
		part, left := o, o.count
		if figures {
			left = cmp.Or(s.figure, o.count)
		}
		for batch := cmp.Or(s.batch, left); left > 0; left -= batch {
			part.count = min(left, batch)
			broken, err := runOne(ctx, part, s, func() {})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if broken {
				failed = append(failed, s.name)
			}
			part.seed++
		}
	}
	switch {
	case ran == 0:
		return fmt.Errorf("-only %s: there is no such scenario", only)
	case len(failed) > 0:
		return fmt.Errorf("promises were broken: %s", strings.Join(failed, ", "))
	}
	return nil
}

// sideWorld is a world that is there beside others.
type sideWorld struct {
	options
	scenario
}

// sideBySide runs worlds, so many at a time, and calls started once one is started, or is not. One
// that fails does not end the others.
func sideBySide(ctx context.Context, worlds []sideWorld, atATime int, started func()) error {
	failed, running := make(chan error), make(chan struct{}, atATime)
	for _, w := range worlds {
		go func() {
			running <- struct{}{}
			defer func() { <-running }()
			broken, err := runOne(ctx, w.options, w.scenario, started)
			if broken {
				err = errors.Join(errors.New("promises were broken"), err)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", w.name, err)
			}
			failed <- err
		}()
	}
	var err error
	for range worlds {
		err = errors.Join(err, <-failed)
	}
	return err
}

// runOne runs a scenario in a directory of its own and prints its row. Once it is started, or is not,
// it calls started.
func runOne(ctx context.Context, o options, s scenario, started func()) (broken bool, err error) {
	started = sync.OnceFunc(started)
	defer started()
	dir, err := os.MkdirTemp(o.keep, "chaos-")
	if err != nil {
		return false, err
	}
	if o.keep == "" {
		defer os.RemoveAll(dir)
	}
	w, err := newWorld(ctx, o, dir, s)
	defer w.leave()
	if err != nil {
		return false, fmt.Errorf("%w\n%s", err, w.last())
	}
	started()
	h, err := w.drive(ctx, s)
	if err != nil {
		return false, fmt.Errorf("%w\n%s", err, w.last())
	}
	violations := validate(h)
	row(s, h, violations)
	if len(violations) == 0 {
		return false, nil
	}
	fmt.Println(w.last())
	return true, errors.Join(err, keepHistory(o, s, h))
}

func (w *world) last() string {
	if w == nil {
		return ""
	}
	return w.printed.String()
}

// shown is how many lines of a broken guarantee are printed; the history has what else
// there is.
const shown = 10

func row(s scenario, h *history, violations []violation) {
	reached, attempts, instructions := h.reached(), 0, 0
	for _, r := range h.Runs {
		for _, step := range r.Steps {
			instructions++
			attempts += step.Attempt
		}
	}
	names := []string{"none"}
	if len(violations) > 0 {
		names = nil
	}
	for _, v := range violations {
		names = append(names, v.Guarantee)
	}
	var b strings.Builder
	defer func() { fmt.Print(b.String()) }() // at once: others may be printed beside it
	fmt.Fprintf(&b, "%-10s %-13s %7d %9d %10.1f %13d %12.1f %9d  %s\n", s.name, s.of, len(h.Faults), len(h.Accepted), reached.Events, instructions, reached.Instructions, attempts, strings.Join(names, " "))
	if h.Hits != nil {
		before, done := storeHits(h.Hits)
		fmt.Fprintf(&b, "    calls of the store that failed: %d; that were done and said to have failed: %d; %v\n", before, done, h.Hits)
	}
	if h.Limit > 0 {
		fmt.Fprintf(&b, "    longest recovery: %.1f s of %.0f\n", longestRecovery(h).Seconds(), h.Limit.Seconds())
	}
	for _, t := range grown(h) {
		fmt.Fprintln(&b, "   ", t)
	}
	for _, v := range violations {
		fmt.Fprintf(&b, "  %s, %d times:\n    %s\n", v.Guarantee, len(v.Lines), strings.Join(v.Lines[:min(len(v.Lines), shown)], "\n    "))
	}
}

func keepHistory(o options, s scenario, h *history) error {
	path := filepath.Join(cmp.Or(o.keep, os.TempDir()), fmt.Sprintf("chaos-%s-%d.json", s.name, o.seed))
	text, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err
	}
	fmt.Println("  the history:", path)
	return atomicfile.Write(path, append(text, '\n'), 0o600)
}
