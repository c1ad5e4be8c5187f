package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/internal/limits"
)

// A sixteenth of the server's disk is kept; so much less is left free, as what the server
// itself gives back must not lift it over the mark.
const (
	keptShare = 16
	below     = 1 << 20
)

// settling is until what was under way when the mark was crossed is stored.
const settling = 500 * time.Millisecond

// belowTheMark leaves the server a little less room than it keeps for results, holds that, and
// looks: no event is stored, /ready says so, and an action is begun, told and audited to its end.
func (w *world) belowTheMark(ctx context.Context, path string, lasts time.Duration) (broken []string, err error) {
	holding, stop := context.WithCancel(ctx)
	defer stop()
	held := make(chan error, 1)
	go func() { held <- holdBelow(holding, path, w.disk(cluster.ServerName)) }()
	status, text, err := w.notReady(ctx)
	if err != nil || status != http.StatusServiceUnavailable {
		broken = say(broken, "/ready of the server says %d %.200s below its mark: %v", status, text, err)
	}
	time.Sleep(settling)
	before, err := w.newestEvent(ctx)
	if err != nil {
		return broken, err
	}
	began, runs := time.Now(), 0
	for time.Since(began) < lasts || runs == 0 {
		took, err := w.runByHand(ctx)
		if err != nil {
			broken = say(broken, "below the server's mark an action of an operator does not come to its end: %v", err)
			break
		}
		if runs++; w.verbose && runs == 1 {
			fmt.Printf("      below the mark: /ready says %.200s; an action is told after %v\n", text, took)
		}
		time.Sleep(settling)
	}
	after, err := w.newestEvent(ctx)
	if err == nil && after != before {
		broken = say(broken, "below its mark the server went on storing events: %s after %s", after, before)
	}
	if w.verbose {
		fmt.Printf("      below the mark for %v: %d actions told, no event stored: %t\n", time.Since(began).Round(time.Millisecond), runs, after == before)
	}
	stop()
	return broken, errors.Join(err, <-held)
}

// notReady asks until the server says that it is not ready: what its database gives back
// when its log is cut lifts it over the mark for a moment.
func (w *world) notReady(ctx context.Context) (status int, text []byte, err error) {
	for until := time.Now().Add(recovery); time.Now().Before(until) && status != http.StatusServiceUnavailable; time.Sleep(settling) {
		if status, text, err = readiness(ctx, w.metrics); err != nil {
			return status, text, err
		}
	}
	return status, text, nil
}

// holdBelow keeps a disk a little below the mark until its context ends, and leaves the file.
func holdBelow(ctx context.Context, path, dir string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for ctx.Err() == nil {
		free, total, err := diskspace.Of(dir)
		if err != nil {
			return err
		}
		if more := free - (total/keptShare - below); more > 0 {
			if _, err := file.Write(make([]byte, more)); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// newestEvent is the last one of the sensor that is stored.
func (w *world) newestEvent(ctx context.Context) (string, error) {
	var page []recorded
	_, err := w.operators.get(ctx, "events", url.Values{"org": {ourOrg}, "type": {"chaos.tick"}, "limit": {"1"}}, &page)
	if err == nil && len(page) == 0 {
		err = errors.New("no event is stored")
	}
	if err != nil {
		return "", err
	}
	return page[0].ID, nil
}

// runByHand starts a run as an operator, and returns when its action was told. It waits behind
// what waited while the agent's own disk was full.
func (w *world) runByHand(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	out, err := w.CLI(ctx, "--org", ourOrg, "workflows", "run", byHand, "-o", "json")
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	var started struct {
		Run struct {
			ID string `json:"id"`
		} `json:"run"`
	}
	if err := limits.UnmarshalJSON(out, &started); err != nil {
		return 0, fmt.Errorf("the answer to a start by hand: %w: %s", err, out)
	}
	for time.Since(began) < w.patience && ctx.Err() == nil {
		var r run
		if _, err = w.operators.get(ctx, "runs/"+started.Run.ID, url.Values{"org": {ourOrg}}, &r); err == nil && over(r.Status) {
			if r.Status != "completed" {
				err = fmt.Errorf("run %s is %s", r.ID, r.Status)
			}
			return time.Since(began).Round(time.Millisecond), err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, errors.Join(fmt.Errorf("run %s has not ended after %v", started.Run.ID, w.patience), err)
}
