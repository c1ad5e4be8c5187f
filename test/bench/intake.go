package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// What intake promises: docs/performance.md.
const (
	leastIntake = 15000 // events a second
	mostAck     = 100   // ms, p99 at half the rate
)

// intake pushes full batches from several sensors at once, each with one batch in flight
// as the agent does it, and counts what was acknowledged; then half as many, and looks at
// how long an acknowledgement takes. Beside it stands what the same disk takes of rows
// without a server.
func intake(ctx context.Context, b *bench) ([]Figure, error) {
	var specs []simagents.Spec
	for n := range b.agents {
		specs = append(specs, simagents.Spec{ID: api.AgentID(fmt.Sprintf("push-%d", n)), Type: api.Sensor, Host: "host"})
	}
	agents, err := simagents.Enrol(ctx, b.simulated(), specs, nil)
	if err != nil {
		return nil, err
	}
	defer simagents.Close(agents)
	sensors := make([]*simagents.Sensor, len(agents))
	for i, a := range agents {
		sensors[i] = a.Sensor()
	}
	rate, _, err := push(ctx, sensors, 0, b.intake)
	if err != nil {
		return nil, err
	}
	pause := time.Duration(float64(len(sensors)*api.MaxBatchEvents) / (rate / 2) * float64(time.Second))
	half, acks, err := push(ctx, sensors, pause, b.intake)
	if err != nil {
		return nil, err
	}
	raw, err := rawRows(ctx, b.dir, b.intake/3)
	if err != nil {
		return nil, err
	}
	slices.Sort(acks)
	return []Figure{
		{fmt.Sprintf("%d agents, batches of %d", b.agents, api.MaxBatchEvents), rate, "events/s", 0, leastIntake},
		{fmt.Sprintf("at %.0f events/s, until acknowledged, p50", half), quantile(acks, 0.50), "ms", 0, 0},
		{"p99", quantile(acks, 0.99), "ms", mostAck, 0},
		{"rows that SQLite takes by itself on this disk", raw, "rows/s", 0, 0},
		{"part of it", rate / raw * 100, "%", 0, 0},
	}, nil
}

// push lets each sensor send a batch after the other for a time, or one each pause, and
// returns the rate and how long each batch took in ms.
func push(ctx context.Context, sensors []*simagents.Sensor, pause, long time.Duration) (rate float64, took []float64, err error) {
	var acked atomic.Int64
	var mu sync.Mutex
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range sensors {
		group.Go(func() error {
			next := begin.Add(pause * time.Duration(i) / time.Duration(len(sensors)))
			for time.Since(begin) < long {
				if err := sleep(ctx, time.Until(next)); err != nil {
					return err
				}
				next = next.Add(pause)
				sent := time.Now()
				if err := s.Push(ctx, "bench.push", api.MaxBatchEvents); err != nil {
					return err
				}
				acked.Add(api.MaxBatchEvents)
				mu.Lock()
				took = append(took, float64(time.Since(sent))/float64(time.Millisecond))
				mu.Unlock()
			}
			return nil
		})
	}
	err = group.Wait()
	return float64(acked.Load()) / time.Since(begin).Seconds(), took, err
}

// rawRows is how many rows of an event's size one connection inserts in a second, a batch
// in a transaction, with the settings of the server's store.
func rawRows(ctx context.Context, dir string, long time.Duration) (float64, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "raw.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE events (n INTEGER PRIMARY KEY, doc TEXT NOT NULL) STRICT`); err != nil {
		return 0, err
	}
	doc, rows, begin := strings.Repeat("x", 400), 0, time.Now()
	for time.Since(begin) < long {
		if err := rawBatch(ctx, db, doc); err != nil {
			return 0, err
		}
		rows += api.MaxBatchEvents
	}
	return float64(rows) / time.Since(begin).Seconds(), nil
}

func rawBatch(ctx context.Context, db *sql.DB, doc string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after Commit
	insert, err := tx.PrepareContext(ctx, `INSERT INTO events (doc) VALUES (?)`)
	if err != nil {
		return err
	}
	for range api.MaxBatchEvents {
		if _, err := insert.ExecContext(ctx, doc); err != nil {
			return err
		}
	}
	return tx.Commit()
}
