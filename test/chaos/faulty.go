package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// storeRate is which part of the calls of each kind of the server's store fails.
const storeRate = 0.01

// storeFaults are the points at a server's store, by how their names begin, and whether what the
// caller is told has failed was done. After a commit of which it is told so nobody knows: the server
// ends by itself, and is started again as by its supervisor.
var storeFaults = map[string]bool{
	"view.before": false, "update.before:": false, "savepoint.before": false, "commit.before": false,
	"update.done:": true, "commit.after": true,
}

// forCall is far more than it takes on average until a call fails under a little load, which
// stands still while a server is started again.
const forCall = 5 * time.Second

// storeFault looks whether a point is one of them.
func storeFault(point string) (is, done bool) {
	for begins, done := range storeFaults {
		if strings.HasPrefix(point, begins) {
			return true, done
		}
	}
	return false, false
}

// storeHits is how many calls failed before they were done, and how many that were done are said
// to have failed.
func storeHits(hits map[string]int) (before, done int) {
	for point, n := range hits {
		if _, was := storeFault(point); was {
			done += n
		} else {
			before += n
		}
	}
	return before, done
}

// driveFaulty has each call of the servers' store fail now and then, before and after it was
// done, until -count did and there were some of both. Servers on one database share their
// points.
func (w *world) driveFaulty(ctx context.Context, r *recorder) error {
	b := &bench{world: w, r: r}
	dir := filepath.Join(w.dir, pointsName, "stavily-server")
	hits := map[string]int{}
	r.mu.Lock()
	r.h.Hits = hits
	r.mu.Unlock()
	deadline := time.Now().Add(w.patience + time.Duration(w.count)*forCall)
	for total, both := 0, false; total < w.count || !both; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d calls of the store failed in time, %d were to, before and after they were done: %v", total, w.count, hits)
		}
		if err := b.armStore(dir); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		if err := b.raise(ctx); err != nil {
			return err
		}
		now := moment(time.Now().UnixNano())
		seen, err := hitStore(dir)
		if err != nil {
			return err
		}
		for point, n := range seen {
			for ; hits[point] < n; hits[point]++ {
				total++
				r.fault(fault{What: faultStore, Whom: databaseName, From: now, To: now}, nil)
				if w.verbose {
					fmt.Printf("    %d %s\n", total, point)
				}
			}
		}
		before, done := storeHits(hits)
		both = before > 0 && done > 0
	}
	if err := b.disarmStore(dir); err != nil {
		return err
	}
	for _, whom := range b.servers() {
		// One that has met a commit of which nobody knows is still on its way to its end, by itself,
		// which is no fault of the run later on. It is started again.
		_ = b.process(whom).Stop()
	}
	return b.goesOn(ctx)
}

// stores lists the files of the store's points that end so, without that.
func stores(dir, suffix string) (points []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the server has no failpoints: build the programs with -tags failpoints, and name their directory by -bin: %w", err)
	}
	for _, e := range entries {
		point, ends := strings.CutSuffix(e.Name(), suffix)
		if is, _ := storeFault(point); is && ends {
			points = append(points, point)
		}
	}
	return points, nil
}

// armStore arms every point of the store that the server has got to.
func (b *bench) armStore(dir string) error {
	points, err := stores(dir, ".seen")
	for _, point := range points {
		path := filepath.Join(dir, point)
		if _, missing := os.Stat(path + ".armed"); missing == nil {
			continue
		}
		err = errors.Join(err, arm(path, fmt.Sprintf("error %g %d", storeRate, b.seed)))
	}
	return err
}

func (b *bench) disarmStore(dir string) error {
	points, err := stores(dir, ".armed")
	for _, point := range points {
		err = errors.Join(err, os.Remove(filepath.Join(dir, point+".armed")))
	}
	return err
}

// hitStore is how often each point has acted.
func hitStore(dir string) (map[string]int, error) {
	points, err := stores(dir, ".hit")
	hits := map[string]int{}
	for _, point := range points {
		info, known := os.Stat(filepath.Join(dir, point+".hit"))
		if known != nil && !errors.Is(known, fs.ErrNotExist) {
			return hits, known
		}
		if known == nil {
			hits[point] = int(info.Size())
		}
	}
	return hits, err
}
