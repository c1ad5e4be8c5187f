//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The program is also every part of itself that runs inside a configuration.
var parts = map[string]func(args []string) error{
	"stage":   stage,
	"world":   world,
	"sibling": sibling,
}

func main() {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			exit(part(os.Args[2:]))
		}
	}
	exit(attack())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	bin, docs, python string
	only              string
	parallel          int
	strict, verbose   bool
}

func attack() error {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the three programs")
	flag.StringVar(&o.docs, "docs", "", "file to write the table to; only when every configuration was asked for")
	flag.StringVar(&o.python, "python", "/usr/bin/python3", "interpreter of the plugins, which every user can run")
	flag.StringVar(&o.only, "only", "", "comma-separated names of configurations, and of probes after a colon: control,full:read_agent_key")
	flag.IntVar(&o.parallel, "parallel", 2, "configurations at the same time")
	flag.BoolVar(&o.strict, "strict", false, "fail when a configuration cannot run here")
	flag.BoolVar(&o.verbose, "v", false, "show what the processes print, and every outcome")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	begin := time.Now()
	dir, err := prepare(o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	chosen, probes, err := choose(o.only)
	if err != nil {
		return err
	}
	results := runAll(ctx, o, dir, chosen, probes)
	settle(results)
	err = report(o, results)
	fmt.Printf("%d configurations in %v\n", len(results), time.Since(begin).Round(time.Second))
	if o.docs != "" && o.only == "" && ctx.Err() == nil {
		err = errors.Join(err, writeTable(o.docs, results))
	}
	return err
}

// choose finds the configurations and probes that -only names; nothing is all.
func choose(only string) ([]configuration, []string, error) {
	if only == "" {
		return configurations, nil, nil
	}
	names, probes, _ := strings.Cut(only, ":")
	var out []configuration
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, c := range configurations {
			if c.Name == name {
				out, found = append(out, c), true
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("there is no configuration %q", name)
		}
	}
	if probes == "" {
		return out, nil, nil
	}
	return out, strings.Split(probes, ","), nil
}

// runAll runs the configurations, o.parallel of them at a time.
func runAll(ctx context.Context, o options, dir string, chosen []configuration, probes []string) []result {
	results := make([]result, len(chosen))
	slots := make(chan struct{}, max(1, o.parallel))
	var all sync.WaitGroup
	for i, c := range chosen {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			begin := time.Now()
			results[i] = thoroughly(ctx, o, dir, c, probes)
			results[i].took = time.Since(begin)
			fmt.Printf("%-22s %s (%v)\n", c.Name, results[i].summary(), results[i].took.Round(100*time.Millisecond))
		})
	}
	all.Wait()
	return results
}

// thoroughly runs a configuration, and once more the probes that died in it or that the agent came
// too late for: where many attacks go on at once, and other work beside them, either can run out of
// its time. What still does not answer then is never taken for a refusal, and what works then works.
func thoroughly(ctx context.Context, o options, dir string, c configuration, probes []string) result {
	r := run(ctx, o, dir, c, probes)
	unsure := r.unsure()
	if r.err != nil || len(unsure) == 0 {
		return r
	}
	fmt.Printf("%-22s tried again: %s\n", c.Name, strings.Join(unsure, ", "))
	again := c
	again.Name += "-2"
	second := run(ctx, o, dir, again, unsure)
	if second.err != nil {
		return r
	}
	for i, first := range r.report.Outcomes {
		for _, o := range second.report.Outcomes {
			if o.Name == first.Name {
				r.report.Outcomes[i] = o
			}
		}
	}
	r.report.Zombies = append(r.report.Zombies, second.report.Zombies...)
	r.unexpected = nil
	r.judge()
	return r
}
