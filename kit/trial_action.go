package kit

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// act tries an action or an output as an agent uses it: a process for each run, forked
// from a warm one where that can be.
func (t *trial) act(ctx context.Context) {
	ran, answered := t.run(ctx, 1)
	if t.plugin.Runtime.Contract == plugin.Detect {
		t.card.Contract = map[bool]string{true: "stdio", false: "script"}[answered]
	}
	var c *Check
	var end func(string, ...any)
	if t.card.Contract == string(plugin.Script) {
		t.card.skip("a script is only run", "handshake", "schema")
		c, end = t.card.begin("commands")
	} else if c, end = t.meet(ctx); c == nil {
		return
	}
	t.judge(c, ran)
	if c.Verdict == Failed {
		end("%s does not complete", t.does())
		t.card.skip(c.Detail, "runs", "TERM")
		return
	}
	end("%s in %s", t.does(), short(ran.took))
	median := t.many(ctx)
	if ctx.Err() == nil {
		t.interrupted(ctx, median)
	}
}

// does is what a run is called.
func (t *trial) does() string {
	switch {
	case t.card.Contract == string(plugin.Script):
		return "a run"
	case t.plugin.Kind == plugin.Output:
		return plugin.SendOutput
	}
	return plugin.ExecuteAction
}

// meet shakes hands with a process that then gets no work, and begins the check of
// commands with those that every plugin has; nil where it does not start.
func (t *trial) meet(ctx context.Context) (commands *Check, ended func(string, ...any)) {
	h := &heard{}
	c, end := t.card.begin("handshake")
	began, met := time.Now(), false
	err := t.bench.Sense(ctx, h.listen(t.bench.task()), closeGrace, func(s *agent.Session) error {
		met = true
		end("%s", t.handshake(s, h, began, c))
		t.schema(ctx, s)
		commands, ended = t.card.begin("commands")
		t.status(ctx, s, commands)
		return nil
	})
	if !met {
		c.fail("%s", h.why(err))
		end("the plugin does not start")
		t.card.skip("the plugin does not start", afterHandshake[:len(afterHandshake)-1]...)
	}
	return commands, ended
}

// once is one run, and what was heard of it.
type once struct {
	result          api.Result
	heard           *heard
	exit            agent.Exit
	answered, ended time.Time
	took            time.Duration
	left            int // processes that it left at its answer
	problem         error
}

// run executes the plugin once. It reports whether its process answered line by line.
func (t *trial) run(ctx context.Context, number int) (*once, bool) {
	out := &once{heard: &heard{}}
	task, err := t.bench.order(number)
	if err != nil {
		out.problem = err
		return out, false
	}
	task = out.heard.listen(task)
	task.Instruction.TimeoutSeconds = max(1, int(t.limit().Seconds()))
	var answered atomic.Bool
	task.Answered = func(pid int) {
		answered.Store(true)
		out.left, out.answered = leftBy(pid, t.bench.Executions), time.Now()
	}
	task.Ended = func(e agent.Exit) { out.exit, out.ended = e, time.Now() }
	began := time.Now()
	out.result = t.bench.Execute(ctx, task)
	out.took = time.Since(began)
	return out, answered.Load()
}

// judge says what is wrong with a run.
func (t *trial) judge(c *Check, r *once) {
	switch {
	case r.problem != nil:
		c.fail("%s", r.problem)
	case r.result.Status != api.Completed:
		c.fail("%s", r.heard.why(fmt.Errorf("ended as %s: %s", r.result.Status, r.result.ErrorMessage)))
	}
	if r.left > 0 {
		c.fail("leaves %s behind that the agent has to end", processes(r.left))
	}
	r.heard.tellStray(c)
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return thousands(n) + " processes"
}

// scriptShare is the part of the runs that a plugin makes that is a new process each
// time: nothing of one run could grow in the next but what is in its home.
const scriptShare = 50

// many uses the plugin many times, and sees what goes wrong or grows. It returns the
// median of the time that a run takes.
func (t *trial) many(ctx context.Context) time.Duration {
	c, end := t.card.begin("runs")
	home, err := t.bench.Home(t.plugin.ID)
	if err != nil {
		c.warn("%s", err)
	}
	runs := t.runs
	if t.card.Contract == string(plugin.Script) {
		runs = max(1, runs/scriptShare)
	}
	var took []time.Duration
	var samples []figures
	failures, left, peak, until := 0, 0, int64(0), time.Now().Add(t.time)
	for i := 1; i <= runs && ctx.Err() == nil; i++ {
		r, _ := t.run(ctx, i+1)
		if r.problem != nil || r.result.Status != api.Completed {
			if failures++; failures == 1 {
				t.judge(c, r)
			}
		} else {
			took = append(took, r.took)
		}
		left += r.left
		if r.result.ResourceUsage != nil {
			peak = max(peak, r.result.ResourceUsage.MaxRSSBytes)
		}
		if sampleAt(i, runs) {
			samples = append(samples, figures{at: i, files: filesIn(home)})
		}
		if time.Now().After(until) {
			c.warn("%s of %s runs were made in %s: --runs-time allows more", thousands(i), thousands(runs), t.time)
			break
		}
	}
	if left > 0 {
		c.fail("leaves processes behind that the agent has to end: %s in all", processes(left))
	}
	grown(samples, c)
	c.note("%s; at most %s", t.how(), mebibytes(peak))
	return t.summary(c, took, failures, nil, end)
}

// how says how the runs came to be.
func (t *trial) how() string {
	if t.card.Contract == string(plugin.Script) {
		return "each a new process"
	}
	warm, why := t.bench.Warm(t.plugin)
	switch {
	case warm:
		return "forked from a warm process"
	case why != "":
		return "each started anew: " + why
	}
	return "each started anew"
}

// interrupted sends TERM in the middle of a run.
func (t *trial) interrupted(ctx context.Context, median time.Duration) {
	c, end := t.card.begin("TERM")
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan time.Time, 1)
	timer := time.AfterFunc(max(median/2, time.Millisecond), func() {
		sent <- time.Now()
		cancel()
	})
	r, _ := t.run(asked, 1)
	if timer.Stop() {
		end("a run is over before TERM could come")
		return
	}
	at := <-sent
	if r.ended.Before(at) || !r.answered.IsZero() && r.answered.Before(at) {
		end("a run is over before TERM could come")
		return
	}
	said := ended(c, r.exit, r.ended.Sub(at))
	if c.Verdict != Failed {
		said += ", as " + strings.ToLower(string(r.result.Status))
	}
	end("%s", said)
}
