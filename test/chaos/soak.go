package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// sample is what the metrics of a process say of it.
type sample struct {
	At      moment
	Process string
	Values  [len(watched)]float64
}

// watched are what must not grow. most is by how much it may in an hour.
var watched = [...]struct {
	metric, name string
	unit         float64
	most         float64
}{
	{"process_resident_memory_bytes", "memory, MB", 1e6, 1},
	{"go_goroutines", "goroutines", 1, 0},
	{"process_open_fds", "descriptors", 1, 0},
}

const (
	sampling = 2 * time.Second
	// blocks are the parts of the time through whose least values a line is laid: what is gone
	// within seconds, as garbage and the calls during a fault are, is no trend.
	blocks = 10
	// leastSamples is how many a block needs at least.
	leastSamples = 5
	// sure is by how many standard errors a slope must be over what it may be. With ten blocks
	// chance does that once in a hundred.
	sure = 3
)

// lasting draws what a process outlives, and kills of the other organisation's agent, which the
// server alone notices: a slope over the lives of several processes would say nothing.
func lasting() func(*rand.Rand) []planned {
	mixed := anything(cluster.ServerName)
	return func(r *rand.Rand) []planned {
		faults := mixed(r)
		for i, f := range faults {
			if f.what == faultKill || f.what == faultStop {
				faults[i].what, faults[i].lasts = faultPause, between(r, 50*time.Millisecond, 1500*time.Millisecond)
			}
		}
		if r.IntN(10) == 0 {
			faults = append(faults, planned{what: faultKill, whom: foreignID, lasts: time.Second})
		}
		return faults
	}
}

// sampleAll asks the server and both agents for their metrics until ctx is done. Who stands
// still or is too slow just then has no sample.
func (w *world) sampleAll(ctx context.Context, r *recorder) {
	for {
		for _, whom := range []string{cluster.ServerName, sensorID, actionID} {
			s, err := w.sampleOf(ctx, whom)
			if err != nil {
				continue
			}
			r.mu.Lock()
			r.h.Samples = append(r.h.Samples, s)
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sampling):
		}
	}
}

func (w *world) sampleOf(ctx context.Context, whom string) (sample, error) {
	address := w.metrics
	if whom != cluster.ServerName {
		var err error
		if address, err = w.Agent(api.AgentID(whom)).Endpoint("metrics"); err != nil {
			return sample{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	answer, err := probe.Do(request)
	if err != nil {
		return sample{}, err
	}
	defer answer.Body.Close()
	text, err := limits.ReadAll(answer.Body, 1<<20)
	if err != nil {
		return sample{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	s := sample{At: moment(time.Now().UnixNano()), Process: whom}
	for i, m := range watched {
		all := families[m.metric].GetMetric()
		if len(all) != 1 {
			return s, errors.Join(err, fmt.Errorf("%s has no metric %s", whom, m.metric))
		}
		s.Values[i] = all[0].GetGauge().GetValue() / m.unit
	}
	return s, err
}

// trend is the line through what was sampled of a process.
type trend struct {
	process     string
	value       int // of watched
	mean        float64
	slope, off  float64 // per hour, and its standard error
	from, until time.Time
}

// grows reports whether more than chance makes it grow by more than it may: what may not grow at
// all, by more than one within the time that was looked at.
func (t trend) grows() bool { return t.slope-sure*t.off > t.most() }

// most is by how much it may grow in an hour.
func (t trend) most() float64 {
	if most := watched[t.value].most; most > 0 {
		return most
	}
	return 1 / t.until.Sub(t.from).Hours() // of what there is a whole number of
}

func (t trend) String() string {
	doubt := ""
	if !t.grows() && t.slope+sure*t.off > t.most() {
		doubt = ", too short a time to exclude more than it may"
	}
	return fmt.Sprintf("%-9s %-12s %8.1f  %+7.2f ± %.2f an hour%s", t.process, watched[t.value].name, t.mean, t.slope, sure*t.off, doubt)
}

// trends are those of all that was sampled after the first third of the time, in which pools
// fill and pages come in. The error names whom too little is known of.
func (h *history) trends() (all []trend, err error) {
	begin := h.Began.Add(h.Ended.Sub(h.Began) / 3)
	part := h.Ended.Sub(begin) / blocks
	for _, process := range []string{cluster.ServerName, sensorID, actionID} {
		var least [len(watched)][blocks]float64
		var counts [blocks]int
		for _, s := range h.Samples {
			if at := s.At.time(); s.Process == process && !at.Before(begin) && at.Before(h.Ended) {
				n := min(int(at.Sub(begin)/part), blocks-1)
				for i, v := range s.Values {
					if counts[n] == 0 || v < least[i][n] {
						least[i][n] = v
					}
				}
				counts[n]++
			}
		}
		if fewest := slices.Min(counts[:]); fewest < leastSamples {
			err = errors.Join(err, fmt.Errorf("%s was sampled %d times in a tenth of the time, %d are needed: let it take longer", process, fewest, leastSamples))
			continue
		}
		for i := range watched {
			t := trend{process: process, value: i, from: begin, until: h.Ended}
			for _, v := range least[i] {
				t.mean += v / blocks
			}
			t.slope, t.off = line(least[i], part.Hours())
			all = append(all, t)
		}
	}
	return all, err
}

// line is the slope of the least squares through values that are a step apart, and its standard
// error.
func line(values [blocks]float64, step float64) (slope, off float64) {
	const middle = float64(blocks-1) / 2
	var mean, xx, xy, rest float64
	for _, m := range values {
		mean += m / blocks
	}
	for n, m := range values {
		x := (float64(n) - middle) * step
		xx += x * x
		xy += x * (m - mean)
	}
	slope = xy / xx
	for n, m := range values {
		x := (float64(n) - middle) * step
		rest += (m - mean - slope*x) * (m - mean - slope*x)
	}
	return slope, math.Sqrt(rest / (blocks - 2) / xx)
}

// noGrowth: what runs for long needs no more than it did.
func noGrowth(h *history) (out []string) {
	if len(h.Samples) == 0 {
		return nil // it is no soak
	}
	all, err := h.trends()
	if err != nil {
		out = say(out, "%v", err)
	}
	for _, t := range all {
		if t.grows() {
			out = say(out, "%s", t)
		}
	}
	return out
}

// grown are the trends of a soak, to be printed.
func grown(h *history) []trend {
	if len(h.Samples) == 0 {
		return nil
	}
	all, _ := h.trends() // the guarantee tells the error
	return all
}
