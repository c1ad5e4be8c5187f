package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// recorder keeps the history while it happens.
type recorder struct {
	mu sync.Mutex // guards h
	h  history
}

func (r *recorder) fault(f fault, broken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Faults = append(r.h.Faults, f)
	r.h.Broken = append(r.h.Broken, broken...)
}

func (r *recorder) broken(lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Broken = append(r.h.Broken, lines...)
}

// warmUp is how long the load runs before the first fault: plugins import, pools fill.
const warmUp = time.Second

// measuredFor is for how long a run goes on that has not reached its load when its faults are over: in a
// few seconds agents may have been down for most of the time.
const measuredFor = 30 * time.Second

// drive runs a scenario's faults under load and returns what was seen.
func (w *world) drive(ctx context.Context, s scenario) (*history, error) {
	r := &recorder{h: history{Target: w.target, Seen: map[string]string{}, Limit: w.limit}}
	dice := rand.New(rand.NewPCG(w.seed, uint64(len(s.name))))
	time.Sleep(warmUp)
	r.h.Began = time.Now()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { w.watch(watching, r) })
	if s.soak {
		watch.Go(func() { w.sampleAll(watching, r) })
	}
	var err error
	switch {
	case w.points:
		err = w.drivePoints(ctx, r)
	case s.faulty:
		err = w.driveFaulty(ctx, r)
	default:
		err = w.cycles(ctx, s, dice, r)
	}
	if err == nil {
		err = w.awaitLoad(ctx, &r.h)
	}
	stop()
	watch.Wait()
	if err != nil {
		return &r.h, err
	}
	if err := w.silence(ctx); err != nil {
		return &r.h, err
	}
	w.settle(ctx, &r.h)
	return &r.h, w.collect(ctx, &r.h)
}

// awaitLoad ends the time over which load is measured.
func (w *world) awaitLoad(ctx context.Context, h *history) error {
	for {
		h.Ended = time.Now()
		if h.Ended.Sub(h.Began) > measuredFor {
			return nil
		}
		soFar := history{Began: h.Began, Ended: h.Ended, Target: h.Target}
		if err := w.collectLoad(&soFar); err != nil {
			return err
		}
		if len(loadReached(&soFar)) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (w *world) collectLoad(h *history) (err error) {
	if h.Accepted, err = readAccepted(w.accepted(sensorID)); err != nil {
		return err
	}
	h.Effects, err = readEffects(filepath.Join(w.ledger(), "effects"))
	return err
}

func (w *world) cycles(ctx context.Context, s scenario, dice *rand.Rand, r *recorder) error {
	b := &bench{world: w, r: r}
	progress := time.NewTicker(time.Minute)
	defer progress.Stop()
	for n := 0; w.goesOn(s, n, r.h.Began); n++ {
		select {
		case now := <-progress.C:
			fmt.Fprintf(os.Stderr, "    %s: %d faults in %v\n", s.name, len(r.h.Faults), now.Sub(r.h.Began).Round(time.Second))
		default:
		}
		time.Sleep(between(dice, s.rest/2, s.rest*3/2))
		group, inGroup := errgroup.WithContext(ctx)
		for _, p := range s.draw(dice) {
			if s.cap > 0 {
				p.lasts = min(p.lasts, w.soak/5) // so that there are several, however short it is
			}
			if w.verbose {
				fmt.Printf("    %d %s\n", n+1, p)
			}
			group.Go(func() error {
				f, broken, err := w.suffer(inGroup, p)
				r.fault(f, broken)
				if err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if w.database == nil {
			continue
		}
		if err := b.raise(ctx); err != nil {
			return err
		}
		r.broken(w.fsck(ctx, fmt.Sprintf("after cycle %d", n+1))) // while the servers work on
	}
	time.Sleep(s.rest)
	return ctx.Err()
}

// goesOn reports whether another cycle follows after n.
func (w *world) goesOn(s scenario, n int, began time.Time) bool {
	switch {
	case s.cap > 0 && n < bothAgents:
		return true
	case s.cap > 0, s.soak:
		return time.Since(began) < w.soak
	}
	return n < w.count
}

// watch looks at runs as an operator would, and keeps the first final status of each.
func (w *world) watch(ctx context.Context, r *recorder) {
	const often = 500 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(often):
		}
		var page []run
		query := url.Values{"org": {ourOrg}, "limit": {"100"}}
		if _, err := w.operators.get(ctx, "runs", query, &page); err != nil {
			continue // the server is down, which is what this is about
		}
		r.mu.Lock()
		for _, run := range page {
			if _, seen := r.h.Seen[run.ID]; !seen && over(run.Status) {
				r.h.Seen[run.ID] = run.Status
			}
		}
		r.mu.Unlock()
	}
}

func over(status string) bool { return status != "running" && status != "queued" }

// settle waits until all that was accepted has come to its end. What has not within the
// time is said in the history.
func (w *world) settle(ctx context.Context, h *history) {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	for {
		open := w.open(ctx)
		if len(open) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			h.Unsettled = open
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// open names what is still on its way.
func (w *world) open(ctx context.Context) (open []string) {
	for _, who := range []struct{ agent, org string }{{sensorID, ourOrg}, {foreignID, foreignOrg}} {
		said, err := readAccepted(w.accepted(who.agent))
		if err != nil || len(said) == 0 {
			return say(open, "nothing is known of what %s accepted: %v", who.agent, err)
		}
		last := said[len(said)-1].Event
		if err := w.isRecorded(ctx, who.org, last); err != nil {
			open = say(open, "event %s, the last that %s accepted, is not recorded: %v", last, who.agent, err)
		}
	}
	for _, status := range []string{"running", "queued"} {
		var runs []run
		if _, err := w.operators.get(ctx, "runs", url.Values{"org": {ourOrg}, "status": {status}}, &runs); err != nil {
			open = say(open, "the %s runs are not known: %v", status, err)
		}
		for _, r := range runs {
			open = say(open, "run %s of %s is %s", r.ID, r.Workflow, r.Status)
		}
	}
	return open
}

// isRecorded asks an operator for an event.
func (w *world) isRecorded(ctx context.Context, org, event string) error {
	_, err := w.operators.get(ctx, "events/"+event+"/explanation", url.Values{"org": {org}}, &[]json.RawMessage{})
	return err
}

// collect reads what there is to know in the end.
func (w *world) collect(ctx context.Context, h *history) (err error) {
	if err = w.collectLoad(h); err != nil {
		return err
	}
	if h.ForeignSaid, err = readAccepted(w.accepted(foreignID)); err != nil {
		return err
	}
	if h.Recorded, err = list[recorded](ctx, w.operators, ourOrg, "events", nil); err != nil {
		return err
	}
	if h.Foreign, err = list[recorded](ctx, w.operators, foreignOrg, "events", nil); err != nil {
		return err
	}
	if h.Runs, err = list[run](ctx, w.operators, ourOrg, "runs", nil); err != nil {
		return err
	}
	if h.ForeignRuns, err = list[run](ctx, w.operators, foreignOrg, "runs", nil); err != nil {
		return err
	}
	return errors.Join(w.details(ctx, h), w.gaps(ctx, h), w.readAudit(h), w.endInOrder(ctx, h))
}

// details reads the steps and the history of the runs that did something.
func (w *world) details(ctx context.Context, h *history) error {
	for n, r := range h.Runs {
		if !workflowOf(r.Workflow).acts {
			continue
		}
		if _, err := w.operators.get(ctx, "runs/"+r.ID, url.Values{"org": {ourOrg}}, &h.Runs[n]); err != nil {
			return err
		}
	}
	return nil
}

// gaps: the spool is never full here, so that each is a loss.
func (w *world) gaps(ctx context.Context, h *history) error {
	var shown struct {
		Gaps []api.Gap `json:"gaps"`
	}
	if _, err := w.operators.get(ctx, "agents/"+sensorID, url.Values{"org": {ourOrg}}, &shown); err != nil {
		return err
	}
	for _, g := range shown.Gaps {
		h.Gaps = say(h.Gaps, "a gap of %d events from %d: %s", g.Count, g.From, g.Reason)
	}
	return nil
}

// readAudit reads when the action agent wrote down that an execution starts.
func (w *world) readAudit(h *history) error {
	path := filepath.Join(w.Agent(actionID).Base, "logs", "audit", "audit.log")
	report, err := audit.Verify([]string{path}, nil)
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		h.AuditFaults = say(h.AuditFaults, "the agent's audit log: %s", f)
	}
	h.Audited = map[string][]moment{}
	return audit.Read(path, func(r audit.Record) bool {
		var of struct {
			Instruction string `json:"instruction"`
		}
		if r.Kind == "instruction_started" && limits.UnmarshalJSON(r.Fields, &of) == nil {
			h.Audited[of.Instruction] = append(h.Audited[of.Instruction], moment(r.Time.UnixNano()))
		}
		return true
	})
}

// endInOrder ends the processes as an operator would, and looks at the database.
func (w *world) endInOrder(ctx context.Context, h *history) error {
	if err := w.close(); err != nil {
		return err
	}
	h.Broken = slices.Concat(h.Broken, w.fsck(ctx, "in the end"))
	return nil
}
