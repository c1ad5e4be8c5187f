package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Causes of the end of a run from outside.
var (
	errCancelled = errors.New("cancelled by the orchestrator")
	errFenced    = errors.New("the attempt is not this agent's any more")
)

const (
	// Lines are shown to people who follow a run; a second is soon enough and keeps a
	// chatty plugin at one call a second.
	flushEvery = time.Second
	// An agent that is told to cancel stops within this time; the lease needs less.
	renewEvery = 5 * time.Second
	// The result waits this long for a report of progress that is under way: lines
	// whose report is given up go with the result.
	answerGrace = time.Second

	// callRoom is how many bytes of lines, as JSON, go with one call: half of what the orchestrator
	// takes. With the data of a result they stay below the 1 MiB that proxies take.
	callRoom = 512 << 10
)

// live is what a running plugin has said that the orchestrator has not got yet.
type live struct {
	mu      sync.Mutex // guards the fields below
	lines   []string
	from    int // the number of the next line to hand over, from 1
	lost    int
	percent *float64
	changed bool
}

func newLive() *live { return &live{from: 1} }

func (l *live) line(text string) {
	text = plugin.LogText(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	most := api.MaxLogLines - 1 // one is for the remark
	if l.lost > 0 {
		most-- // which is due first
	}
	if len(l.lines) >= most {
		l.lost++
		return
	}
	l.remark()
	l.lines = append(l.lines, text)
	l.changed = true
}

// remark says where lines are left out how many they are. The caller holds mu.
func (l *live) remark() {
	if l.lost > 0 {
		l.lines, l.lost = append(l.lines, leftOut(l.lost)), 0
	}
}

func leftOut(lines int) string {
	return fmt.Sprintf("agent: %d lines are left out here; logs/plugins on the host has them", lines)
}

// fitting is how many of lines go with one call.
func fitting(lines []string) int {
	room := callRoom
	for n, line := range lines {
		text, err := api.Marshal(line)
		if err != nil { // texts always marshal
			return n
		}
		if room -= len(text) + len(","); room < 0 {
			return n
		}
	}
	return len(lines)
}

func (l *live) progress(p plugin.Progress) {
	l.mu.Lock()
	l.percent, l.changed = p.Percent, true
	l.mu.Unlock()
	if p.Message != "" {
		l.line("progress: " + p.Message)
	}
}

// take hands over what has come since the last time, of which the first line has number from, as
// far as it goes with one call. What does not is changed still.
func (l *live) take() (lines []string, from int, percent *float64, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := fitting(l.lines)
	if n == len(l.lines) {
		l.remark() // for which there is room
		n = len(l.lines)
	}
	from, percent, changed = l.from, l.percent, l.changed
	lines, l.lines = l.lines[:n:n], l.lines[n:]
	l.from += n
	l.changed = len(l.lines) > 0
	return lines, from, percent, changed
}

// giveBack returns lines that could not be sent, or whose answer was lost; they go before the newer
// ones, under the numbers that they had.
func (l *live) giveBack(lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from -= len(lines)
	l.lines = append(lines, l.lines...)
	if over := len(l.lines) - (api.MaxLogLines - 1); over > 0 {
		l.lines, l.lost = l.lines[:len(l.lines)-over], l.lost+over
	}
	l.changed = true
}

// refused leaves out lines of a report that the orchestrator does not take, and the percentage, which
// may be why. Their numbers are not given again: it may know some of them, from a report whose answer
// was lost.
func (l *live) refused(lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.percent = nil
	if len(lines) == 0 {
		return
	}
	l.lines = append([]string{leftOut(len(lines))}, l.lines...)
	if over := len(l.lines) - (api.MaxLogLines - 1); over > 0 {
		l.lines, l.lost = l.lines[:len(l.lines)-over], l.lost+over
	}
	l.changed = true
}

// rest is what the result carries: the first of what has come, where that is more than goes with it.
func (l *live) rest() (lines []string, from int) {
	lines, from, _, _ = l.take()
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := len(l.lines) + l.lost; left > 0 {
		lines = append(lines, leftOut(left))
	}
	return lines, from
}

// renew reports progress until stop is closed: at once when there is something new,
// and often enough to keep the lease, which counts from when it was asked for, and to hear of a
// cancellation. It cancels the run when the orchestrator says so, or that the attempt is somebody
// else's.
func (w *worker) renew(ctx context.Context, a *attempt, l *live, stop <-chan struct{}, cancel context.CancelCauseFunc) {
	calls, end := outlive(ctx, stop)
	defer end()
	i, last, every := a.i, a.lease.Load().asked, renewEvery
	if lasts := a.lease.Load().lasts; lasts > 0 {
		every = min(every, lasts/3)
	}
	tick := time.NewTimer(min(flushEvery, every-time.Since(last))) // at once, where much came between
	defer tick.Stop()
	for ; ; tick.Reset(flushEvery) {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if isClosed(stop) { // both at once
			return
		}
		lines, from, percent, changed := l.take()
		if !changed && time.Since(last) < every {
			continue
		}
		last = time.Now()
		answer, err := w.rt.API.Progress(calls, i.ID, api.Progress{Status: api.Executing, ExecutionLog: lines, LogFrom: from, Percent: percent, Attempt: i.Attempt, Lease: i.Lease})
		w.rt.NoteContact(err)
		switch {
		case err == nil && answer.Cancel:
			cancel(errCancelled)
			return
		case err == nil:
			a.lease.Store(leased(&i, answer, last))
		case unfit(err):
			w.rt.Log.Warn("lines refused", telemetry.KeyInstruction, i.ID, telemetry.KeyAttempt, i.Attempt, "lines", len(lines), telemetry.KeyError, err)
			l.refused(lines)
		case final(err):
			w.rt.Log.Warn("stopping", telemetry.KeyInstruction, i.ID, telemetry.KeyAttempt, i.Attempt, telemetry.KeyError, err)
			cancel(errFenced)
			return
		default:
			l.giveBack(lines)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// outlive makes a context for calls that ends answerGrace after stop, so that an
// orchestrator which hangs does not keep a result out of the journal. end waits for
// what watches stop.
func outlive(ctx context.Context, stop <-chan struct{}) (calls context.Context, end func()) {
	calls, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-calls.Done():
			return
		case <-stop:
		}
		select {
		case <-calls.Done():
		case <-time.After(answerGrace):
			cancel()
		}
	})
	return calls, func() { cancel(); watching.Wait() }
}
