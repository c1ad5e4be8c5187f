package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// All lengths are there once, from the shortest to the longest, and no world has much more than another.
func TestPausesAreSharedOut(t *testing.T) {
	const count, worlds, longest = 200, 16, 10 * time.Minute
	var all, sums []time.Duration
	for n := range worlds {
		var sum time.Duration
		lengths := pauseLengths(count, longest, n, worlds)
		for _, l := range lengths {
			sum += l
		}
		all, sums = append(all, lengths...), append(sums, sum)
	}
	slices.Sort(all)
	if len(all) != count || len(slices.Compact(all)) != count || all[0] != time.Second || all[count-1].Round(time.Second) != longest {
		t.Errorf("%d lengths from %v to %v, want %d from 1s to %v", len(all), all[0], all[len(all)-1], count, longest)
	}
	if least, most := slices.Min(sums), slices.Max(sums); most > 2*least {
		t.Errorf("one world stands still for %v, another for %v", least, most)
	}
	if one := pauseLengths(1, longest, 0, 1); len(one) != 1 || one[0].Round(time.Second) != longest {
		t.Errorf("a single pause takes %v, want %v", one, longest)
	}
}

// Each kind of process is paused, and each length is taken once.
func TestEachIsPaused(t *testing.T) {
	lengths := pauseLengths(12, time.Minute, 0, 1)
	want := slices.Clone(lengths)
	draw := pausing(lengths)
	whom, got := map[string]int{}, []time.Duration{}
	dice := rand.New(rand.NewPCG(1, 1))
	for range 12 {
		p := draw(dice)[0]
		whom[p.whom]++
		got = append(got, p.lasts)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("pauses of %v, want %v", got, want)
	}
	if len(whom) != 3 || whom[actionID] != 4 || whom[sensorID] != 4 {
		t.Errorf("paused were %v, want three kinds of process four times each", whom)
	}
}
