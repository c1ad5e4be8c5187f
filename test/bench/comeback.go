package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// mostAtOnce is how many times the mean may come back in one second: docs/guarantees.md, R20.
const mostAtOnce = 2

// door is the way to the server, which notes when somebody comes through.
type door struct {
	net.Listener
	server string

	mu   sync.Mutex // guards came
	came []time.Time
}

func openDoor(server string) (*door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{Listener: l, server: server}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go d.pass(from)
		}
	}()
	return d, nil
}

// pass connects to the server, and lets go of who comes while it is away.
func (d *door) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", d.server)
	if err != nil {
		return
	}
	defer to.Close()
	d.mu.Lock()
	d.came = append(d.came, time.Now())
	d.mu.Unlock()
	go func() {
		_, _ = io.Copy(to, from) // who goes away ends both
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// reset forgets who came, and passed is who has come since.
func (d *door) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.came = nil
}

func (d *door) passed() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.came
}

// comeback takes the server away from agents for so long that their pauses are as long as they
// get, and counts the connections of each second once it is back.
func comeback(ctx context.Context, b *bench) ([]Figure, error) {
	d, err := openDoor(strings.TrimPrefix(b.URL(), "https://"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	specs := make([]simagents.Spec, b.back)
	for n := range specs {
		specs[n] = simagents.Spec{ID: api.AgentID(fmt.Sprintf("back-%d", n)), Type: api.Action, Host: fmt.Sprintf("host-%d", n)}
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	var figures []Figure
	group.Go(func() error {
		defer end()
		agents, err := simagents.Enrol(ctx, simagents.Server{DataDir: b.DataDir(), URL: "https://" + d.Addr().String()}, specs, func(a *simagents.Agent) {
			group.Go(func() error { return a.Persist(ctx, asConfigured) })
		})
		if err != nil {
			return err
		}
		defer simagents.Close(agents)
		figures, err = b.away(ctx, d)
		return err
	})
	return figures, group.Wait()
}

// away is what happens when the server is back.
func (b *bench) away(ctx context.Context, d *door) ([]Figure, error) {
	b.Kill(cluster.ServerName)
	err := sleep(ctx, b.outage)
	d.reset()
	if err = errors.Join(err, b.StartServer(ctx)); err != nil {
		return nil, err
	}
	for len(d.passed()) < b.back {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%d of %d came back: %w", len(d.passed()), b.back, err)
		}
	}
	came := d.passed()[:b.back]
	bySecond, peak := map[int]int{}, 0
	for _, at := range came {
		second := int(at.Sub(came[0]) / time.Second)
		bySecond[second]++
		peak = max(peak, bySecond[second])
	}
	took := came[len(came)-1].Sub(came[0]).Seconds()
	mean := float64(b.back) / took
	return []Figure{
		{"agents, whose server was away", float64(b.back), "", 0, 0},
		{"for", b.outage.Seconds(), "s", 0, 0},
		{"from the first that was back to the last", took, "s", 0, 0},
		{"connections, mean", mean, "a second", 0, 0},
		{"connections in the busiest second", float64(peak), "", 0, 0},
		{"of the mean", float64(peak) / mean, "times", mostAtOnce, 0},
	}, nil
}
