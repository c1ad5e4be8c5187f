package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// What can be done to a process or to the network.
const (
	faultKill  = "kill"  // SIGKILL
	faultStop  = "stop"  // SIGTERM; it must end by itself
	faultPause = "pause" // SIGSTOP, SIGCONT
	faultCut   = "cut"   // the proxy's weather
)

// planned is a fault that has not happened yet.
type planned struct {
	what, whom string
	lasts      time.Duration // of a pause or a cut; of a kill, how long nothing runs
	weather    weather
}

func (p planned) String() string {
	if p.what == faultCut {
		return fmt.Sprintf("%s %s (%s) for %v", p.what, p.whom, p.weather, p.lasts)
	}
	return fmt.Sprintf("%s %s for %v", p.what, p.whom, p.lasts)
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// scenario draws the faults of one cycle; those of one cycle happen at once, each to
// another process.
type scenario struct {
	name string
	of   string // the figure of the specification that it is for
	draw func(*rand.Rand) []planned
	rest time.Duration // between faults, on average: the load must go on
}

var scenarios = []scenario{
	{"action", "R1", killing(actionID), 1200 * time.Millisecond}, // it is at work again when its plugins are imported
	{"sensor", "R2", killing(sensorID), 300 * time.Millisecond},
	{"server", "R3", killing(cluster.ServerName), 600 * time.Millisecond},
	{"mixed", "R4, R13-R15", anything, 800 * time.Millisecond},
}

func killing(whom string) func(*rand.Rand) []planned {
	return func(r *rand.Rand) []planned {
		return []planned{{what: faultKill, whom: whom, lasts: between(r, 0, 100*time.Millisecond)}}
	}
}

// longPause outlasts the leases of the bench now and then.
const longPause = lease + 2*time.Second

func anything(r *rand.Rand) []planned {
	whom := []string{actionID, sensorID, cluster.ServerName}
	r.Shuffle(len(whom), func(i, j int) { whom[i], whom[j] = whom[j], whom[i] })
	var faults []planned
	for _, w := range whom[:1+r.IntN(2)] {
		faults = append(faults, anythingTo(r, w))
	}
	return faults
}

func anythingTo(r *rand.Rand, whom string) planned {
	lasts := between(r, 50*time.Millisecond, 1500*time.Millisecond)
	if r.IntN(10) == 0 {
		lasts = longPause
	}
	kinds := []string{faultKill, faultKill, faultStop, faultPause, faultCut, faultCut}
	if whom == cluster.ServerName {
		kinds = kinds[:4] // an agent's network is its own
	}
	p := planned{what: kinds[r.IntN(len(kinds))], whom: whom, lasts: lasts}
	switch p.what {
	case faultKill, faultStop:
		p.lasts = between(r, 0, 500*time.Millisecond)
	case faultCut:
		p.weather = []weather{reset, silent, deaf, slow}[r.IntN(4)]
	}
	return p
}

// suffer does what is planned and mends it, and says when.
func (w *world) suffer(ctx context.Context, p planned) (f fault, broken []string, err error) {
	f = fault{What: p.what, Whom: p.whom, From: moment(time.Now().UnixNano())}
	defer func() { f.To = moment(time.Now().UnixNano()) }()
	switch p.what {
	case faultKill, faultStop:
		if err := w.end(p); err != nil {
			return f, nil, err
		}
		f.To = moment(time.Now().UnixNano())
		if p.whom == cluster.ServerName {
			broken = w.fsck(ctx, "after "+p.String())
		}
		time.Sleep(p.lasts)
		return f, broken, w.begin(ctx, p.whom)
	case faultPause:
		process := w.Process(p.whom)
		if err := process.Pause(); err != nil {
			return f, nil, err
		}
		time.Sleep(p.lasts)
		return f, nil, process.Resume()
	case faultCut:
		w.proxies[p.whom].set(p.weather)
		time.Sleep(p.lasts)
		w.proxies[p.whom].set(clear)
		return f, nil, nil
	}
	return f, nil, errors.New("there is no such fault: " + p.what)
}

// end ends a process; one that is asked to must do so by itself.
func (w *world) end(p planned) error {
	if p.what == faultStop {
		if err := w.Process(p.whom).Stop(); err != nil {
			return err
		}
	}
	w.Kill(p.whom)
	return nil
}

func (w *world) begin(ctx context.Context, whom string) error {
	ctx, cancel := context.WithTimeout(ctx, cluster.Deadline)
	defer cancel()
	if whom == cluster.ServerName {
		return w.StartServer(ctx)
	}
	return w.StartAgent(ctx, api.AgentID(whom))
}

// fsck says what is wrong with the database of a server that is down.
func (w *world) fsck(ctx context.Context, when string) []string {
	out, err := w.CLI(ctx, "fsck")
	if err == nil {
		return nil
	}
	return []string{fmt.Sprintf("fsck %s: %v: %s", when, err, out)}
}
