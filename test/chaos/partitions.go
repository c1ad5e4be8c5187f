package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// What is done to the network besides a proxy's weather.
const (
	loss     weather = "loss"     // the kernel drops three of ten packets
	flapping weather = "flapping" // each second something else of flaps
)

var flaps = []weather{silent, clear, reset, clear}

// partitions are the classes of R13. Each is a scenario of its own; they run side by side, for -soak.
var partitions = []scenario{
	class("drop", silent, longer),
	class("tcp-reset", reset, 0),
	// The agent has to notice by itself, however soon it tries again then: the limit is that of the
	// default configuration.
	{name: "half-open", of: "R13", draw: spells(forgetful, longer), rest: clearFor, cap: time.Minute, least: 3 * time.Minute},
	{name: "loss", of: "R13", draw: spells(loss, 0), rest: clearFor, cap: shortCap, root: true},
	class("narrow", narrow, 0),
	class("late", late, 0),
	class("flapping", flapping, 0),
}

const (
	shortCap = 5 * time.Second
	clearFor = 4 * time.Second // on average, besides the recovery
	// shortest and longest are the spells of weather. Where a class says so, one in five is longer than
	// the 65 s that an agent takes to find that a connection died behind a proxy, which confirms what it
	// sends: pingAfter and pingTimeout of package api.
	shortest, longest, longer = time.Second, 30 * time.Second, 80 * time.Second
)

// runPartitions runs the classes side by side.
func runPartitions(ctx context.Context, o options, only string) error {
	named := slices.DeleteFunc(slices.Clone(partitions), func(s scenario) bool { return !strings.HasPrefix(s.name, only) })
	if len(named) == 0 {
		return fmt.Errorf("-only %s: there is no such class", only)
	}
	var running []sideWorld
	for _, s := range named {
		switch {
		case s.root && !mayLose():
			fmt.Printf("%-10s %-13s not run: it takes root, on Linux\n", s.name, s.of)
		case o.soak < s.least:
			fmt.Printf("%-10s %-13s not run: it takes at least %v\n", s.name, s.of, s.least)
		default:
			running = append(running, sideWorld{o, s})
		}
	}
	var starting sync.WaitGroup // no world has weather while others take all of the machine to start
	starting.Add(len(running))
	return sideBySide(ctx, running, len(running), func() { starting.Done(); starting.Wait() })
}

// bothAgents are so many spells.
const bothAgents = 2

func class(name string, w weather, atTimes time.Duration) scenario {
	return scenario{name: name, of: "R13", draw: spells(w, atTimes), rest: clearFor, cap: shortCap}
}

// spells has the weather over one agent after the other, so that the other shows whether one delivers
// again.
func spells(w weather, atTimes time.Duration) func(*rand.Rand) []planned {
	whom, n := []string{sensorID, actionID}, 0
	return func(r *rand.Rand) []planned {
		n++
		p := planned{what: faultCut, whom: whom[n%len(whom)], weather: w, lasts: between(r, shortest, longest)}
		if atTimes > 0 && r.IntN(5) == 0 {
			p.lasts = atTimes
		}
		return []planned{p}
	}
}

// cut has weather over an agent's network for as long as planned.
func (w *world) cut(ctx context.Context, p planned) error {
	proxy := w.proxies[p.whom]
	switch p.weather {
	case loss:
		if err := lose(ctx, proxy, true); err != nil {
			return err
		}
		time.Sleep(p.lasts)
		return lose(ctx, proxy, false)
	case flapping:
		until := time.Now().Add(p.lasts)
		for n := 0; time.Now().Before(until); n++ {
			proxy.set(flaps[n%len(flaps)])
			time.Sleep(min(time.Second, time.Until(until)))
		}
	default:
		proxy.set(p.weather)
		time.Sleep(p.lasts)
	}
	proxy.set(clear)
	return nil
}

// recovers is how long an agent over which the weather is clear now takes until an event is recorded
// that its plugin was told is accepted since, or an action begins. It gives up after twice the limit.
func (w *world) recovers(ctx context.Context, whom string) (time.Duration, error) {
	since := time.Now()
	said, effects := w.accepted(sensorID), filepath.Join(w.ledger(), "effects")
	saidBefore, effectsBefore := size(said), size(effects)
	for time.Since(since) < 2*w.limit && ctx.Err() == nil {
		again := whom == actionID && size(effects) > effectsBefore
		if whom == sensorID {
			event, err := eventAfter(said, saidBefore)
			if err != nil {
				return 0, err
			}
			again = event != "" && w.isRecorded(ctx, ourOrg, event) == nil
		}
		if again {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(since), ctx.Err()
}

// eventAfter is the event of the first line after what was there before, or empty.
func eventAfter(path string, before int64) (event string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	line, err := bufio.NewReader(io.NewSectionReader(file, before, maxLine)).ReadString('\n')
	if err != nil {
		return "", nil // it is still to come
	}
	_, err = fmt.Sscan(line, &event)
	return event, err
}

// longestRecovery is that of a class of weather, to be printed.
func longestRecovery(h *history) (most time.Duration) {
	for _, f := range h.Faults {
		most = max(most, f.Recovery)
	}
	return most
}
