package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// latency measures from `accepted` at the sensor plugin to the first statement of
// the action plugin, on one clock.
func latency(ctx context.Context, b *bench) ([]Figure, error) {
	sensor, err := b.add(ctx, "bench-s", "sensor", "bench-sensor")
	if err != nil {
		return nil, err
	}
	action, err := b.add(ctx, "bench-a", "action", "bench-action")
	if err != nil {
		return nil, err
	}
	// A plugin writes nowhere but in directories of its own.
	accepted := filepath.Join(sensor.Base, "data", "state", "plugins", "bench-sensor", "accepted")
	started := filepath.Join(action.Base, "data", "state", "plugins", "bench-action", "started")
	if err := b.apply(ctx, latencyWorkflow); err != nil {
		return nil, err
	}
	monitor := fmt.Sprintf("plugin: bench-sensor\nconfig: {count: %d, pause: %g}\n", b.events, b.pause.Seconds())
	if err := sensor.Configure("bench", monitor); err != nil {
		return nil, err
	}
	for _, id := range []string{"bench-a", "bench-s"} {
		if err := b.start(ctx, id); err != nil {
			return nil, err
		}
	}
	from, to, err := b.awaitPairs(ctx, accepted, started)
	if err != nil {
		return nil, err
	}
	var took []float64
	for seq, t := range to {
		took = append(took, float64(t-from[seq])/float64(time.Millisecond))
	}
	slices.Sort(took)
	bare, err := bareStart(ctx, b.python)
	if err != nil {
		return nil, err
	}
	return []Figure{
		{"bare start of the interpreter, p50", bare, "ms", 0, 0},
		{"p50", quantile(took, 0.50), "ms", 0, 0},
		{"p99", quantile(took, 0.99), "ms", 0, 0},
		{"samples", float64(len(took)), "", 0, 0},
	}, nil
}

// bareStart is the time that the interpreter takes to start and end by itself, which no
// cold plugin can be faster than.
func bareStart(ctx context.Context, python string) (float64, error) {
	return medianOf(50, func() error {
		if err := exec.CommandContext(ctx, python, "-c", "pass").Run(); err != nil {
			return fmt.Errorf("start %s: %w", python, err)
		}
		return nil
	})
}

const latencyWorkflow = `name: bench
triggers:
  - event: bench.tick
actions:
  - id: go
    plugin: bench-action
    with: {seq: "${{ event.data.seq }}"}
`

func (b *bench) apply(ctx context.Context, text string) error {
	file := filepath.Join(b.dir, "workflow.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := b.CLI(ctx, "workflows", "apply", "-f", file)
	return err
}

// awaitPairs reads both files until every event has been acted on.
func (b *bench) awaitPairs(ctx context.Context, accepted, started string) (from, to map[int]int64, err error) {
	for {
		if to, err = readTimes(started); err != nil {
			return nil, nil, err
		}
		if len(to) == b.events {
			from, err = readTimes(accepted)
			return from, to, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%d of %d events were acted on: %w", len(to), b.events, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// readTimes reads "seq nanoseconds" lines; a last line that is still being written
// is left for the next look.
func readTimes(path string) (map[int]int64, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	out := map[int]int64{}
	for line := range strings.Lines(string(text)) {
		var seq int
		var t int64
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if _, err := fmt.Sscan(line, &seq, &t); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		if _, twice := out[seq]; twice {
			return nil, fmt.Errorf("%s: event %d was acted on twice", path, seq)
		}
		out[seq] = t
	}
	return out, err
}

// quantile of sorted values, by the nearest rank.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
