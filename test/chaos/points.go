package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/limits"
)

// faultPoint is that a process was made to fail at a failpoint.
const faultPoint = "failpoint"

// actions are what is done at each point.
var actions = []string{"kill", "panic", "sleep", "error"}

// points is the scenario of failpoints (R5), for programs that were built with them.
var points = scenario{name: "failpoints", of: "R5, R10", rest: 500 * time.Millisecond}

// runPoints runs -count worlds, so that none has a database that takes long to look at.
func runPoints(ctx context.Context, o options) error {
	if err := o.checkWorlds(); err != nil {
		return err
	}
	worlds := make([]sideWorld, o.count)
	for n := range worlds {
		worlds[n] = sideWorld{o, points}
		worlds[n].seed += uint64(n)
	}
	return sideBySide(ctx, worlds, o.worlds, func() {})
}

// pointsName is the directory in which processes find what is armed; see package failpoint.
const pointsName = "points"

// cell is one action at one point of one program.
type cell struct{ program, point, action string }

// name is that of the point in the source, where one may serve several files or calls.
func (c cell) name() string {
	name, _, _ := strings.Cut(c.point, ":")
	return name
}

func (c cell) String() string { return c.action + " at " + c.point + " of " + c.program }

// bench drives the cells and counts.
type bench struct {
	*world
	r    *recorder
	dice *rand.Rand
	ways map[string]int // by program and point: what got a process there, see provoke
	hit  map[string]int // cells that were hit, by program and point
	tour int            // how many tours there were
}

// drivePoints does every cell that is drawn, each under load, and after each waits until
// events are accepted and actions done again.
func (w *world) drivePoints(ctx context.Context, r *recorder) error {
	b := &bench{world: w, r: r, dice: rand.New(rand.NewPCG(w.seed, 5)), ways: map[string]int{}, hit: map[string]int{}}
	if err := b.takeTour(ctx, ""); err != nil {
		return fmt.Errorf("before anything is armed: %w", err)
	}
	// What is passed only by the first start of all is not seen again after the next one.
	from := moment(time.Now().UnixNano())
	if err := errors.Join(b.forget(), w.restart(ctx)); err != nil {
		return err
	}
	r.fault(fault{What: faultKill, Whom: actionID, From: from, To: moment(time.Now().UnixNano())}, nil)
	known, err := b.learn(ctx)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return errors.New("these programs have no failpoints: build them with -tags failpoints, and name their directory by -bin")
	}
	cells := b.cells(known)
	began := time.Now()
	for n, c := range cells {
		hit, err := b.do(ctx, c)
		if err != nil && ctx.Err() == nil {
			b.r.broken([]string{fmt.Sprintf("%s: %v", c, err)})
			err = b.anew(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		if w.verbose {
			fmt.Printf("    %d/%d %6.1fs %s, hit: %t\n", n+1, len(cells), time.Since(began).Seconds(), c, hit)
		}
	}
	time.Sleep(points.rest)
	return errors.Join(b.revive(ctx), b.summary(known, len(cells)))
}

// cells are each known point with each action, in random order; -by-name and -cells bound them.
func (b *bench) cells(known []cell) (all []cell) {
	known = slices.Clone(known)
	b.dice.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	drawn := map[string]bool{}
	for _, k := range known {
		key := k.program + " " + k.name()
		if b.byName && drawn[key] {
			continue
		}
		drawn[key] = true
		for _, action := range actions {
			all = append(all, cell{k.program, k.point, action})
		}
	}
	b.dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if b.most > 0 && len(all) > b.most {
		all = all[:b.most]
	}
	return all
}

// byTour is the way of what only operators bring about.
const byTour = 2

// learn takes one tour, and lists the points and what gets a process to each.
func (b *bench) learn(ctx context.Context) ([]cell, error) {
	time.Sleep(forSteady)
	before, err := b.known()
	if err = errors.Join(err, b.takeTour(ctx, "")); err != nil {
		return nil, err
	}
	time.Sleep(forOther)
	all, err := b.known()
	for _, c := range all {
		if !slices.Contains(before, c) {
			b.ways[c.program+" "+c.point] = byTour
		}
	}
	return all, err
}

// forget removes what is known of the points that were passed.
func (b *bench) forget() error {
	for _, whom := range []string{sensorID, actionID, foreignID, cluster.ServerName} {
		b.Kill(whom)
	}
	return os.RemoveAll(filepath.Join(b.dir, pointsName))
}

// known lists the points that processes have got to.
func (b *bench) known() (all []cell, err error) {
	root := filepath.Join(b.dir, pointsName)
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if point, is := strings.CutSuffix(filepath.Base(path), ".seen"); err == nil && is && strings.Contains(path, b.match) {
			all = append(all, cell{program: filepath.Base(filepath.Dir(path)), point: point})
		}
		return err
	})
	return slices.DeleteFunc(all, func(c cell) bool { return c.program == "stavily" || b.whom(c.program) == "" && c.program != enrolling }), err
}

// whom is the process of the cluster that runs a program; empty for commands.
func (b *bench) whom(program string) string {
	return map[string]string{"stavily-server": cluster.ServerName, "sensor-agent": sensorID, "action-agent": actionID}[program]
}

// patience of one step of a cell; a busy machine is slow.
const (
	forSteady  = 2 * time.Second
	forOther   = 1500 * time.Millisecond
	forEnd     = 200 * time.Millisecond // until a process that was killed is known to have ended
	forAdvance = 60 * time.Second
	forRevival = 3 * time.Minute // with a look at a database of hundreds of megabytes
)

// do arms one cell, gets a process there, and sees that everything goes on.
func (b *bench) do(ctx context.Context, c cell) (hit bool, err error) {
	path := filepath.Join(b.dir, pointsName, c.program, c.point)
	if err := arm(path, c.action); err != nil {
		return false, err
	}
	from := moment(time.Now().UnixNano())
	if hit, err = b.provoke(ctx, c, path); err != nil {
		return false, err
	}
	if hit {
		b.hit[c.program+" "+c.point]++
	}
	if err := errors.Join(remove(path+".armed"), remove(path+".hit")); err != nil {
		return hit, err
	}
	time.Sleep(forEnd)
	err = b.goesOn(ctx)
	b.r.fault(fault{What: faultPoint, Whom: b.whom(c.program), From: from, To: moment(time.Now().UnixNano())}, nil)
	return hit, err
}

// anew starts everything from nothing armed, after a cell that got stuck.
func (b *bench) anew(ctx context.Context, c cell) error {
	path := filepath.Join(b.dir, pointsName, c.program, c.point)
	from := moment(time.Now().UnixNano())
	for _, whom := range []string{sensorID, actionID, foreignID, cluster.ServerName} {
		b.Kill(whom)
	}
	err := errors.Join(remove(path+".armed"), remove(path+".hit"), b.revive(ctx))
	b.r.fault(fault{What: faultKill, Whom: actionID, From: from, To: moment(time.Now().UnixNano())}, nil)
	return err
}

func arm(path, action string) error {
	if err := os.WriteFile(path+".new", []byte(action), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path+".armed")
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// provoke gets a process to the point: by the load alone, by a new start of the process, or by a
// tour of what operators do. What did it once is tried first later.
func (b *bench) provoke(ctx context.Context, c cell, path string) (hit bool, err error) {
	key := c.program + " " + c.point
	ways := []func() error{
		func() error { return b.await(ctx, path, forSteady) },
		func() error { return errors.Join(b.again(ctx, c.program), b.await(ctx, path, forOther)) },
		func() error { return errors.Join(b.takeTour(ctx, c.program), b.await(ctx, path, forOther)) },
	}
	for way := b.ways[key]; way < len(ways); way++ {
		if err := ways[way](); err != nil {
			return false, err
		}
		if _, err := os.Stat(path + ".hit"); err == nil {
			b.ways[key] = way
			return true, nil
		}
	}
	return false, nil
}

// await waits until the point is hit, and starts again what ended by it.
func (b *bench) await(ctx context.Context, path string, limit time.Duration) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path + ".hit"); err == nil {
			break
		}
	}
	return b.revive(ctx)
}

// again starts the process of a program anew; one that dies at its start is started once more.
func (b *bench) again(ctx context.Context, program string) error {
	whom := b.whom(program)
	if whom == "" {
		return nil
	}
	b.Kill(whom)
	return b.revive(ctx)
}

// restart starts every process.
func (w *world) restart(ctx context.Context) error {
	b := bench{world: w, r: &recorder{}}
	return b.revive(ctx)
}

// revive starts all processes that have ended, servers before agents, which need them.
func (b *bench) revive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forRevival)
	defer cancel()
	all := append(b.servers(), sensorID, actionID, foreignID)
	for whom := b.ended(all...); whom != ""; whom = b.ended(all...) {
		if err := b.mend(ctx, whom); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return ctx.Err()
}

// mend starts one again that has ended, as its supervisor would. The database of a single server
// is looked at first.
func (b *bench) mend(ctx context.Context, whom string) error {
	c, name := b.of(whom)
	c.Kill(name) // what is known of it
	if isServer(whom) && b.database == nil {
		b.r.broken(b.fsck(ctx, "after "+whom+" had ended"))
	}
	if err := b.begin(ctx, whom); err != nil {
		return fmt.Errorf("%s does not start again: %w", whom, err)
	}
	return nil
}

// ended is the first of them that is not there.
func (w *world) ended(of ...string) string {
	for _, whom := range of {
		p := w.process(whom)
		if p == nil {
			return whom
		}
		select {
		case <-p.Done:
			return whom
		default:
		}
	}
	return ""
}

// goesOn waits until an event was accepted and an action begun that were not before.
func (b *bench) goesOn(ctx context.Context) error {
	said, done := size(b.accepted(sensorID)), size(filepath.Join(b.ledger(), "effects"))
	for deadline := time.Now().Add(forAdvance); ; time.Sleep(20 * time.Millisecond) {
		if err := b.revive(ctx); err != nil {
			return err
		}
		events, acts := size(b.accepted(sensorID)) > said, size(filepath.Join(b.ledger(), "effects")) > done
		if events && acts {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("within %v afterwards: an event accepted: %t, an action begun or ended: %t", forAdvance, events, acts)
		}
	}
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// literal is a call of package failpoint in the source.
var literal = regexp.MustCompile(`failpoint\.(?:Hit|At|File|Caller)\("([^"]+)"`)

// sites lists the names in the source below the current directory.
func sites() (names []string, err error) {
	err = filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, "internal/failpoint") {
			return err
		}
		text, err := limits.ReadFile(path, 1<<20)
		for _, m := range literal.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// summary says what was hit. A run of all cells fails when a point, or a name in the source,
// was not.
func (b *bench) summary(known []cell, cells int) error {
	names, err := sites()
	if err != nil {
		return err
	}
	var not []string
	reached, of := map[string]bool{}, map[string]int{}
	hits := 0
	for _, k := range known {
		of[k.program]++
		n := b.hit[k.program+" "+k.point]
		hits += n
		if n == 0 {
			not = append(not, k.program+" "+k.point)
			continue
		}
		reached[k.name()] = true
	}
	unreached := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return reached[n] })
	fmt.Printf("  %d points in %d places of the source; %d cells, %d hit; points hit %d, places hit %d; points by program %v\n", len(known), len(names), cells, hits, len(known)-len(not), len(names)-len(unreached), of)
	if b.most > 0 || b.match != "" || b.byName {
		return nil // there was no cell for most
	}
	if len(not)+len(unreached) > 0 {
		return fmt.Errorf("never hit: %s; of the source: %s", strings.Join(not, ", "), strings.Join(unreached, ", "))
	}
	return nil
}
