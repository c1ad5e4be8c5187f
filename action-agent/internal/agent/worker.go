package agent

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// worker is the state of the role's loops.
type worker struct {
	rt      *agent.Runtime
	journal *agent.Journal
	host    Host
	slots   chan struct{} // holds a token for each instruction that may run
	turns   turns
	ended   chan struct{} // pulse: there may be something to report
	drained chan struct{} // closed when poll has ended, and all that it started

	balance  balance
	finished *telemetry.CounterVec
	took     *telemetry.HistogramVec
	polls    *telemetry.CounterVec
	running  *telemetry.Gauge
}

func newWorker(rt *agent.Runtime, journal *agent.Journal, host Host) *worker {
	w := &worker{
		rt: rt, journal: journal, host: host,
		slots:    make(chan struct{}, rt.Config().API.MaxConcurrent),
		turns:    turns{last: map[api.InstructionID]*turn{}},
		ended:    make(chan struct{}, 1),
		drained:  make(chan struct{}),
		finished: rt.Metrics.CounterVec("instructions_total", "Instructions that ended on this agent, by outcome.", "plugin", "outcome"),
		took: rt.Metrics.HistogramVec("instruction_seconds", "Time from the start of the plugin to its end.",
			[]float64{.01, .05, .1, .5, 1, 5, 10, 60, 300, 1800}, "plugin"),
	}
	w.polls = rt.Metrics.CounterVec("polls_total", "Polls for instructions, by outcome: work, none or failed.", "outcome")
	w.running = rt.Metrics.Gauge("instructions_running", "Instructions that are being worked on.")
	w.declareBalance(rt.Metrics)
	rt.Metrics.GaugeFunc("results_waiting", "Results that wait for the orchestrator.", func() float64 { return float64(journal.Account().Waiting) })
	for range cap(w.slots) {
		w.slots <- struct{}{}
	}
	return w
}

// resume tells what a former process left behind. The journal has ended it already;
// the report loop sends it.
func (w *worker) resume() {
	for _, e := range w.journal.Unreported() {
		w.rt.Log.Info("a former process left a result", telemetry.KeyInstruction, e.ID, telemetry.KeyAttempt, e.Attempt, "status", e.Result.Status)
		if e.Result.Status == api.Interrupted {
			w.rt.Audit.Note(agent.AuditEnded, endedFields(*e.Instruction, *e.Result)...)
		}
	}
}

// poll asks for work as long as there is room for it, and ends when everything that
// it started has ended.
func (w *worker) poll(ctx context.Context) error {
	defer close(w.drained)
	var running sync.WaitGroup
	defer running.Wait()
	backoff := w.rt.Backoff()
	for {
		wait := w.rt.Config().PollWait()
		patience := wait + 3*w.rt.Config().API.Timeout.Duration()
		w.rt.Health.Beat("poll", patience)
		free := 0
		if w.mayRecord(ctx, patience/2) {
			free = w.take(ctx, patience)
		}
		if ctx.Err() != nil {
			return nil
		}
		if free == 0 {
			continue // all busy, or nothing can be recorded: beat again and go on waiting
		}
		answer, err := w.rt.Poll(ctx, wait, free)
		w.rt.NoteContact(err)
		offers := answer.Offers()
		w.countPoll(len(offers), err)
		w.balance.receive(len(offers))
		for range free - len(offers) {
			w.slots <- struct{}{}
		}
		begun := newLull(len(offers))
		for _, offer := range offers {
			received := time.Now()
			running.Go(func() {
				w.running.Add(1)
				done := sync.OnceFunc(begun.done)
				defer func() { w.balance.over(); w.running.Add(-1); w.slots <- struct{}{}; done() }()
				w.handle(ctx, offer, received, done)
			})
		}
		if err == nil {
			backoff.Reset()
			begun.wait()
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Next(api.RetryAfter(err))):
		}
	}
}

// mostLull is how long the next poll waits, at most, for what the last one brought to get under
// way. On a small host what it costs, here and at the server, would keep that waiting.
const mostLull = 5 * time.Millisecond

// lull is the time between offers and the next poll.
type lull struct {
	left atomic.Int32
	over chan struct{}
}

func newLull(offers int) *lull {
	l := &lull{over: make(chan struct{})}
	l.left.Store(int32(offers))
	if offers == 0 {
		close(l.over)
	}
	return l
}

// done is called once for each offer.
func (l *lull) done() {
	if l.left.Add(-1) == 0 {
		close(l.over)
	}
}

func (l *lull) wait() {
	select {
	case <-l.over:
	case <-time.After(mostLull):
	}
}

// mayRecord waits, at most for limit, until what work is taken could be recorded, and its
// result kept.
func (w *worker) mayRecord(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return w.rt.AwaitAudit(ctx) == nil && w.rt.AwaitRoom(ctx) == nil
}

func (w *worker) countPoll(offers int, err error) {
	outcome := "none"
	switch {
	case errors.Is(err, context.Canceled): // the agent ends
		return
	case err != nil:
		outcome = "failed"
	case offers > 0:
		outcome = "work"
	}
	w.polls.WithLabelValues(outcome).Inc()
}

// take waits for a free slot, at most for limit, and takes all that are free.
func (w *worker) take(ctx context.Context, limit time.Duration) int {
	select {
	case <-w.slots:
	case <-ctx.Done():
		return 0
	case <-time.After(limit / 2):
		return 0
	}
	free := 1
	for {
		select {
		case <-w.slots:
			free++
		default:
			return free
		}
	}
}

// report sends every result until it is acknowledged, the oldest first.
func (w *worker) report(ctx context.Context) error {
	backoff := w.rt.Backoff()
	for {
		w.beatReport()
		err := w.sendAll(ctx)
		pause := time.Duration(0)
		if err != nil {
			pause = backoff.Next(api.RetryAfter(err))
		} else {
			backoff.Reset()
		}
		if stopped := w.awaitResult(ctx, pause); stopped {
			w.farewell(ctx)
			return nil
		}
	}
}

// awaitResult waits for a result, or for pause after a failure, and reports whether
// the agent ends.
func (w *worker) awaitResult(ctx context.Context, pause time.Duration) bool {
	ended, again := w.ended, time.After(w.rt.Config().API.Timeout.Duration())
	if pause > 0 {
		ended, again = nil, time.After(pause)
	}
	select {
	case <-ctx.Done():
		return true
	case <-ended:
	case <-again: // also to beat
	}
	return false
}

// farewellLimit bounds how long the end of the process waits for results to be
// taken; what is not is sent at the next start.
const farewellLimit = 5 * time.Second

// farewell waits for the instructions that are being stopped, which the grace of
// plugins bounds, and sends their results.
func (w *worker) farewell(ctx context.Context) {
	<-w.drained
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellLimit)
	defer cancel()
	if err := w.sendAll(ctx); err != nil {
		w.rt.Log.Warn("results wait for the next start", telemetry.KeyError, err)
	}
}

// togetherAtMost is how many results are under way at a time: far from the orchestrator one after the
// other would come behind what runs. The orchestrator takes more of one agent.
const togetherAtMost = 8

// sendAll sends what the journal holds, the oldest first, and the results of one instruction one after
// the other: none of them is told after a later one. Where nobody answers it begins no more; a result
// that the orchestrator stumbles over, or a proxy for its size, is left for the next time and holds up
// no other.
func (w *worker) sendAll(ctx context.Context) error {
	var calls errgroup.Group
	calls.SetLimit(min(cap(w.slots), togetherAtMost))
	var nobody atomic.Bool
	for _, results := range byInstruction(w.journal.Unreported()) {
		if nobody.Load() {
			break
		}
		calls.Go(func() (failed error) {
			for _, e := range results {
				err := w.send(ctx, e)
				if err != nil && api.CodeOf(err) != api.CodeInternal && !api.TooLargeBetween(err) {
					nobody.Store(true)
					return err
				}
				failed = cmp.Or(failed, err)
			}
			return failed
		})
	}
	return calls.Wait()
}

// byInstruction puts the results of one instruction together, and keeps their order.
func byInstruction(waiting []agent.JournalEntry) (together [][]agent.JournalEntry) {
	at := map[api.InstructionID]int{}
	for _, e := range waiting {
		n, known := at[e.ID]
		if !known {
			n = len(together)
			at[e.ID], together = n, append(together, nil)
		}
		together[n] = append(together[n], e)
	}
	return together
}

// send sends a result, and has the journal know when the orchestrator has had the last word.
func (w *worker) send(ctx context.Context, e agent.JournalEntry) error {
	w.beatReport()
	begin := time.Now()
	_, err := w.rt.API.Result(ctx, e.ID, *e.Result)
	if unfit(err) {
		w.rt.Log.Warn("result refused: sent without its data and log", telemetry.KeyInstruction, e.ID, telemetry.KeyAttempt, e.Attempt, telemetry.KeyError, err)
		_, err = w.rt.API.Result(ctx, e.ID, w.bare(e.ID, *e.Result, err))
	}
	w.rt.NoteContact(err)
	w.traceReport(e, begin, err)
	if err != nil && !final(err) && (!unfit(err) || api.TooLargeBetween(err)) { // a proxy's word ends nothing: its limit may be raised
		return err
	}
	if err != nil {
		w.rt.Log.Warn("result refused", telemetry.KeyInstruction, e.ID, telemetry.KeyAttempt, e.Attempt, telemetry.KeyError, err)
	}
	return w.journal.Reported(e.ID, e.Attempt)
}

func (w *worker) beatReport() {
	w.rt.Health.Beat("report", 4*w.rt.Config().API.Timeout.Duration()+w.rt.Config().API.Retry.MaxInterval.Duration())
}

// final reports whether the orchestrator has said the last word about an attempt:
// it has another outcome, another attempt, or no such instruction.
func final(err error) bool {
	switch api.CodeOf(err) {
	case api.CodeConflict, api.CodeGone, api.CodeNotFound:
		return true
	}
	return false
}
