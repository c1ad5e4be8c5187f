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

	faultFull = "full" // its disk

	faultDisconnect = "disconnect" // the database ends all connections
	faultCrash      = "crash"      // the database ends, and is started again
	faultExit       = "exit"       // by itself
	faultStore      = "store"      // a call of a server's store fails, or is said to have
)

// databaseName is whom the database's are done to.
const databaseName = "database"

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
	name   string
	of     string // the figure of the specification that it is for
	draw   func(*rand.Rand) []planned
	rest   time.Duration // between faults, on average: the load must go on
	figure int           // faults that the specification asks for
	batch  int           // of them on one database, at most, since a look at it takes the longer the more it holds; 0: all

	takes    time.Duration // an action; 0: shortAction
	soak     bool          // for -soak, and not -count faults
	cap      time.Duration // of a class of weather, for -soak as well: the longest pause of agents' calls; twice as long is what they may take to deliver again
	least    time.Duration // it says nothing in less
	root     bool          // it takes root, on Linux
	faulty   bool          // of programs with failpoints, until -count store calls have failed
	full     bool          // each process on a small disk of its own; asked for by -only full, since it takes root
	postgres bool          // two servers on PostgreSQL instead of one on SQLite
}

var scenarios = []scenario{
	{name: "action", of: "R1", draw: killing(actionID), rest: 1200 * time.Millisecond, figure: 1000, batch: 250}, // it is at work again when its plugins are imported
	{name: "sensor", of: "R2", draw: killing(sensorID), rest: 300 * time.Millisecond, figure: 1000},
	{name: "server", of: "R3", draw: killing(cluster.ServerName), rest: 1500 * time.Millisecond, figure: 500, batch: 25},
	{name: "mixed", of: "R4", draw: anything(cluster.ServerName), rest: 800 * time.Millisecond, figure: 500, batch: 50},
	{name: "soak", of: "R23", draw: lasting(), rest: 3 * time.Second, soak: true},
	{name: "faulty", of: "R10", rest: 500 * time.Millisecond, faulty: true},
	{name: "faulty-pg", of: "R10", rest: 500 * time.Millisecond, faulty: true, postgres: true},
	{name: "full", of: "R11", draw: filling(), rest: time.Second, full: true},
	{name: "postgres", of: "two servers", draw: anything(cluster.ServerName, secondServer, databaseName), rest: 800 * time.Millisecond, figure: 500, postgres: true},
}

func killing(whom string) func(*rand.Rand) []planned {
	return func(r *rand.Rand) []planned {
		return []planned{{what: faultKill, whom: whom, lasts: between(r, 0, 100*time.Millisecond)}}
	}
}

// filling fills the disk of one process after the other.
func filling() func(*rand.Rand) []planned {
	whom, next := []string{actionID, sensorID, cluster.ServerName}, 0
	return func(*rand.Rand) []planned {
		next++
		return []planned{{what: faultFull, whom: whom[(next-1)%len(whom)]}}
	}
}

// longPause outlasts the leases of the bench now and then.
const longPause = lease + 2*time.Second

// anything happens to one or two at once: of the agents, and of what else there is.
func anything(besides ...string) func(*rand.Rand) []planned {
	whom := append([]string{actionID, sensorID}, besides...)
	return func(r *rand.Rand) []planned {
		r.Shuffle(len(whom), func(i, j int) { whom[i], whom[j] = whom[j], whom[i] })
		var faults []planned
		for _, w := range whom[:1+r.IntN(2)] {
			faults = append(faults, anythingTo(r, w))
		}
		return faults
	}
}

func anythingTo(r *rand.Rand, whom string) planned {
	lasts := between(r, 50*time.Millisecond, 1500*time.Millisecond)
	if r.IntN(10) == 0 {
		lasts = longPause
	}
	kinds := []string{faultKill, faultKill, faultStop, faultPause, faultCut, faultCut}
	switch whom {
	case cluster.ServerName, secondServer:
		kinds = kinds[:4] // an agent's network is its own
	case databaseName:
		kinds = []string{faultDisconnect, faultDisconnect, faultCrash}
	}
	p := planned{what: kinds[r.IntN(len(kinds))], whom: whom, lasts: lasts}
	switch p.what {
	case faultKill, faultStop, faultCrash:
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
		checked := make(chan []string, 1)
		go func() { // while the next one starts and works, as the load must go on
			if p.whom == cluster.ServerName && w.database == nil {
				broken = w.fsck(ctx, "after "+p.String())
			}
			checked <- broken
		}()
		time.Sleep(p.lasts)
		err := w.begin(ctx, p.whom)
		return f, <-checked, err
	case faultFull:
		broken, err := w.fill(ctx, p.whom, w.hold)
		return f, broken, err
	case faultPause:
		process := w.process(p.whom)
		if err := process.Pause(); err != nil {
			return f, nil, err
		}
		time.Sleep(p.lasts)
		return f, nil, process.Resume()
	case faultCut:
		if err := w.cut(ctx, p); err != nil || w.limit == 0 {
			return f, nil, err
		}
		f.Recovery, err = w.recovers(ctx, p.whom)
		return f, nil, err
	}
	return f, nil, w.sufferDatabase(p)
}

func (w *world) sufferDatabase(p planned) error {
	switch p.what {
	case faultDisconnect:
		return w.database.disconnect()
	case faultCrash:
		err := w.database.crash()
		time.Sleep(p.lasts)
		return errors.Join(err, w.database.resume())
	}
	return errors.New("there is no such fault: " + p.what)
}

// servers are those of the world.
func (w *world) servers() []string {
	if w.second == nil {
		return []string{cluster.ServerName}
	}
	return []string{cluster.ServerName, secondServer}
}

func isServer(whom string) bool { return whom == cluster.ServerName || whom == secondServer }

// of is the cluster that a process belongs to, and its name there.
func (w *world) of(whom string) (*cluster.Cluster, string) {
	if whom == secondServer {
		return w.second, cluster.ServerName
	}
	return w.Cluster, whom
}

func (w *world) process(whom string) *cluster.Process {
	c, name := w.of(whom)
	return c.Process(name)
}

// raise starts servers again that have ended by themselves, as their supervisor would: they
// do when they do not know whether a commit has happened.
func (b *bench) raise(ctx context.Context) error {
	for _, whom := range b.servers() {
		if b.ended(whom) == "" {
			continue
		}
		from := moment(time.Now().UnixNano())
		if err := b.mend(ctx, whom); err != nil {
			return err
		}
		b.r.fault(fault{What: faultExit, Whom: whom, From: from, To: moment(time.Now().UnixNano())}, nil)
	}
	return nil
}

// end ends a process; one that is asked to must do so by itself.
func (w *world) end(p planned) error {
	c, name := w.of(p.whom)
	if p.what == faultStop {
		if err := c.Process(name).Stop(); err != nil {
			return err
		}
	}
	c.Kill(name)
	return nil
}

func (w *world) begin(ctx context.Context, whom string) error {
	ctx, cancel := context.WithTimeout(ctx, cluster.Deadline)
	defer cancel()
	c, _ := w.of(whom)
	if !isServer(whom) {
		return w.StartAgent(ctx, api.AgentID(whom))
	}
	err := c.StartServer(ctx)
	for err != nil && w.uncertain && ctx.Err() == nil { // a supervisor tries again
		time.Sleep(supervised)
		err = c.StartServer(ctx)
	}
	return err
}

// supervised is how long a supervisor waits before it starts a server again.
const supervised = 200 * time.Millisecond

// fsck says what is wrong with the database of a server that was ended, of which the next may work already.
func (w *world) fsck(ctx context.Context, when string) []string {
	args := []string{"fsck"}
	if w.database != nil {
		args = append(args, "--database", w.database.url)
	}
	out, err := w.CLI(ctx, args...)
	if err == nil {
		return nil
	}
	return []string{fmt.Sprintf("fsck %s: %v: %s", when, err, out)}
}
