package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// What an idle agent may take, for the table: docs/performance.md.
const (
	mostBinary = 14.0 // MB, stripped
	mostRSS    = 18.0 // MB
	mostCPU    = 0.1  // s a minute
	mostStart  = 150  // ms until it is ready
)

// idle measures what the agents and the server take with nothing to do.
func idle(ctx context.Context, b *bench) ([]Figure, error) {
	agents := map[api.AgentID]api.AgentType{"idle-s": api.Sensor, "idle-a": api.Action}
	order := []api.AgentID{"idle-s", "idle-a"}
	var out []Figure
	for _, id := range order {
		if _, err := b.AddAgent(ctx, id, agents[id]); err != nil {
			return nil, err
		}
		name := string(agents[id]) + "-agent"
		program, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return nil, fmt.Errorf("size of a program: %w", err)
		}
		start, err := b.startToReady(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out,
			Figure{name + " binary", float64(program.Size()) / 1e6, "MB", mostBinary, 0},
			Figure{name + " start to ready, median of " + fmt.Sprint(starts), start, "ms", mostStart, 0})
	}
	before := map[string]float64{}
	for _, id := range []string{"idle-s", "idle-a", cluster.ServerName} {
		before[id] = cpuSeconds(b.Process(id).Pid())
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(b.idle):
	}
	for _, id := range []string{"idle-s", "idle-a", cluster.ServerName} {
		pid := b.Process(id).Pid()
		name, rss, cpu := "server", 0.0, 0.0
		if typ, ok := agents[api.AgentID(id)]; ok {
			name, rss, cpu = string(typ)+"-agent", mostRSS, mostCPU
		}
		m, err := memory(pid, "smaps_rollup")
		if err != nil {
			return nil, err
		}
		perMinute := (cpuSeconds(pid) - before[id]) * float64(time.Minute) / float64(b.idle)
		out = append(out,
			Figure{name + " RSS", m["Rss"], "MB", rss, 0},
			Figure{name + " RSS, of it anonymous", m["Anonymous"], "MB", 0, 0},
			Figure{name + " PSS", m["Pss"], "MB", 0, 0},
			Figure{name + " CPU per minute", perMinute, "s", cpu, 0})
	}
	return out, nil
}

// starts is how often the start of an agent is measured.
const starts = 7

// startToReady is the median time in ms from the start of an agent's program until its
// health endpoint says that it is ready; the agent runs afterwards.
func (b *bench) startToReady(ctx context.Context, id api.AgentID) (float64, error) {
	var took []float64
	for range starts {
		if p := b.Process(string(id)); p != nil {
			if err := p.Stop(); err != nil {
				return 0, err
			}
		}
		began := time.Now()
		if err := b.StartAgent(ctx, id); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// memory reads the sizes in a file of /proc/PID (proc(5)) in MB: Rss, Pss, Anonymous and more
// in smaps_rollup, VmHWM and more in status.
func memory(pid int, file string) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	sizes := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		var kib float64
		if _, err := fmt.Sscanf(rest, "%f kB", &kib); err == nil {
			sizes[name] = kib * 1024 / 1e6
		}
	}
	return sizes, nil
}

// cpuSeconds reads user and system time from /proc/pid/stat (proc(5)); 0 when the
// process is gone, which the caller notices otherwise.
func cpuSeconds(pid int) float64 { own, _ := cpuTimes(pid); return own }

// cpuTimes are the seconds of a process and those of its children that have ended.
func cpuTimes(pid int) (own, ended float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, 0
	}
	var t [4]float64
	for i := range t {
		fmt.Sscan(fields[11+i], &t[i])
	}
	return (t[0] + t[1]) / ticksPerSecond, (t[2] + t[3]) / ticksPerSecond
}

// cpuBelow is the time of all that descends from a process.
func cpuBelow(pid int) float64 {
	_, sum := cpuTimes(pid)
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil { // the pattern is right
		return 0
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that has ended: it has none
		for _, child := range strings.Fields(string(text)) {
			var id int
			fmt.Sscan(child, &id)
			sum += cpuSeconds(id) + cpuBelow(id)
		}
	}
	return sum
}
