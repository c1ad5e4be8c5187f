package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// ticksPerSecond is USER_HZ, which Linux has fixed at 100 for user space (proc(5)).
const ticksPerSecond = 100

func (b *bench) start(ctx context.Context, id string) error {
	return b.StartAgent(ctx, api.AgentID(id))
}

// idle measures memory and processor time of each process with nothing to do.
func idle(ctx context.Context, b *bench) ([]Figure, error) {
	if _, err := b.AddAgent(ctx, "idle-s", api.Sensor); err != nil {
		return nil, err
	}
	if _, err := b.AddAgent(ctx, "idle-a", api.Action); err != nil {
		return nil, err
	}
	names := map[string]string{"idle-s": "sensor-agent", "idle-a": "action-agent", cluster.ServerName: "server"}
	for id := range names {
		if id == cluster.ServerName {
			continue
		}
		if err := b.start(ctx, id); err != nil {
			return nil, err
		}
	}
	before := map[string]float64{}
	for id := range names {
		before[id] = cpuSeconds(b.Process(id).Pid())
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(b.idle):
	}
	var out []Figure
	for _, id := range []string{"idle-s", "idle-a", cluster.ServerName} {
		pid := b.Process(id).Pid()
		rss, pss, err := memory(pid)
		if err != nil {
			return nil, err
		}
		perMinute := (cpuSeconds(pid) - before[id]) * float64(time.Minute) / float64(b.idle)
		out = append(out,
			Figure{names[id] + " RSS", rss, "MiB"},
			Figure{names[id] + " PSS", pss, "MiB"},
			Figure{names[id] + " CPU per minute", perMinute, "s"})
	}
	return out, nil
}

// memory reads resident and proportional set size in MiB from smaps_rollup (proc(5)).
func memory(pid int) (rss, pss float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "Rss: %f", &kib); err == nil {
			rss = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "Pss: %f", &kib); err == nil {
			pss = kib / 1024
		}
	}
	return rss, pss, nil
}

// cpuSeconds reads user and system time from /proc/pid/stat (proc(5)); 0 when the
// process is gone, which the caller notices otherwise.
func cpuSeconds(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)
	var user, system float64
	if len(fields) > 12 {
		fmt.Sscan(fields[11], &user)
		fmt.Sscan(fields[12], &system)
	}
	return (user + system) / ticksPerSecond
}
