package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // reads the server's own times of each step

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// What the way from a posted event to running code may take: docs/performance.md.
const (
	mostMedian = 4  // ms
	mostTail   = 15 // ms, p99
)

const warmWorkflow = `name: warm
triggers:
  - event: bench.tick
actions:
  - id: go
    plugin: bench-warm
    with: {seq: "${{ event.data.seq }}"}
`

// unlimited lets an agent take as many instructions as come.
var unlimited = []string{"STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=1000", "STAVILY_API_RATE_LIMIT_BURST=1000", "STAVILY_API_MAX_CONCURRENT=16"}

// busy measures from before an event is posted until the function of the action's plugin
// is called in its sandbox on a waiting agent, at a steady rate, while many others are
// connected. All times are of this machine's one clock.
func busy(ctx context.Context, b *bench) ([]Figure, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	machine, err := units(ctx, b.dir, b.python)
	if err != nil {
		return nil, err
	}
	if err := b.apply(ctx, warmWorkflow); err != nil {
		return nil, err
	}
	action, err := b.add(ctx, "bench-w", api.Action, "bench-warm")
	if err != nil {
		return nil, err
	}
	if err := b.start(ctx, "bench-w"); err != nil {
		return nil, err
	}
	var senders, others []simagents.Spec
	for n := range posters {
		senders = append(senders, simagents.Spec{ID: api.AgentID(fmt.Sprintf("poster-%d", n)), Type: api.Sensor, Host: host})
	}
	for n := range b.others {
		others = append(others, simagents.Spec{ID: api.AgentID(fmt.Sprintf("other-%d", n)), Type: api.Action, Host: fmt.Sprintf("host-%d", n)})
	}
	file := filepath.Join(action.Base, "data", "state", "plugins", "bench-warm", "started")
	var posted, called map[int]int64
	var work []Figure
	err = b.alive(ctx, others, asConfigured, func(ctx context.Context) error {
		from, err := simagents.Enrol(ctx, b.simulated(), senders, nil)
		if err != nil {
			return err
		}
		defer simagents.Close(from)
		if _, _, err = b.post(ctx, from, b.warmEvents, file); err == nil { // until runs are forked from a warm process
			before := b.work("bench-w")
			posted, called, err = b.post(ctx, from, b.posts, file)
			work = b.work("bench-w").each(before, b.posts)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	steps, err := stepsOf(ctx, filepath.Join(b.DataDir(), "stavily.db"))
	if err != nil {
		return nil, err
	}
	figures, err := hops(posted, called, steps, b.rate, len(others))
	return slices.Concat(figures, work, machine), err
}

// work is processor time in seconds: of the server, of an agent, of all processes of its
// plugins, and of this program with the agents that it simulates.
type work [4]float64

func (b *bench) work(agent string) work {
	server, plugins := b.Process(cluster.ServerName).Pid(), b.Process(agent).Pid()
	return work{cpuSeconds(server), cpuSeconds(plugins), cpuBelow(plugins), cpuSeconds(os.Getpid())}
}

// each is what n events took of it since before.
func (w work) each(before work, n int) (figures []Figure) {
	for i, who := range []string{"server", "agent", "the plugin's processes", "this program"} {
		figures = append(figures, Figure{"processor time for one event: " + who, (w[i] - before[i]) * 1000 / float64(n), "ms", 0, 0})
	}
	return figures
}

const (
	perSecond = 50 // events, of which the aims are
	posters   = 10 // that send them in turn
)

// post posts events of one each and returns when each was posted and when the plugin was
// called, by number. The numbers go on from those that are in the file.
func (b *bench) post(ctx context.Context, from []*simagents.Agent, n int, file string) (posted, called map[int]int64, err error) {
	done, err := readTimes(file)
	if err != nil {
		return nil, nil, err
	}
	first := len(done)
	posted = map[int]int64{}
	times := make([]int64, n)
	group, inTime := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Second / time.Duration(b.rate))
	defer tick.Stop()
	for i := range n {
		select {
		case <-inTime.Done():
			return nil, nil, group.Wait()
		case <-tick.C:
		}
		group.Go(func() error {
			times[i] = time.Now().UnixNano()
			return from[i%len(from)].Post(inTime, "bench.tick", first+i)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i, t := range times {
		posted[first+i] = t
	}
	for {
		if called, err = readTimes(file); err != nil || len(called) == first+n {
			return posted, called, err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, nil, fmt.Errorf("the plugin was called for %d of %d events: %w", len(called)-first, n, err)
		}
	}
}

// step is when the server did what with an instruction.
type step struct {
	Input struct {
		Seq int `json:"seq"`
	} `json:"input"`
	Created time.Time `json:"created_at"`
	Offered time.Time `json:"offered_at"`
	Started time.Time `json:"started_at"`
}

func stepsOf(ctx context.Context, file string) (map[int]step, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT doc FROM instructions WHERE plugin = 'bench-warm'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	steps := map[int]step{}
	for rows.Next() {
		var doc []byte
		var s step
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(doc, &s); err != nil {
			return nil, err
		}
		steps[s.Input.Seq] = s
	}
	return steps, rows.Err()
}

// hops are the figures of the whole way and of its parts.
func hops(posted, called map[int]int64, steps map[int]step, rate, connected int) ([]Figure, error) {
	parts := []string{
		"posted → the server decides", "decided → offered to the agent", "offered → claimed by the agent", "claimed → the plugin's function is called",
	}
	took, whole := make([][]float64, len(parts)), []float64{}
	for seq, from := range posted {
		s, known := steps[seq]
		if !known {
			return nil, fmt.Errorf("event %d made no instruction", seq)
		}
		at := []int64{from, s.Created.UnixNano(), s.Offered.UnixNano(), s.Started.UnixNano(), called[seq]}
		for i := range parts {
			took[i] = append(took[i], float64(at[i+1]-at[i])/1e6)
		}
		whole = append(whole, float64(called[seq]-from)/1e6)
	}
	slices.Sort(whole)
	median, tail := float64(mostMedian), float64(mostTail)
	if rate != perSecond {
		median, tail = 0, 0
	}
	figures := []Figure{
		{fmt.Sprintf("p50, %d events/s, %d agents connected", rate, connected), quantile(whole, 0.50), "ms", median, 0},
		{"p99", quantile(whole, 0.99), "ms", tail, 0},
	}
	for i, part := range parts {
		slices.Sort(took[i])
		figures = append(figures, Figure{"  " + part + ", p50", quantile(took[i], 0.50), "ms", 0, 0}, Figure{"  " + strings.Repeat(" ", len([]rune(part))-4) + "p99", quantile(took[i], 0.99), "ms", 0, 0})
	}
	return append(figures, Figure{"samples", float64(len(whole)), "", 0, 0}), nil
}
