package kit

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
)

// sense tries a sensor of contract stdio as an agent uses it: one process, asked again
// and again.
func (t *trial) sense(ctx context.Context) {
	h := &heard{}
	c, end := t.card.begin("handshake")
	began, met := time.Now(), false
	err := t.bench.Sense(ctx, h.listen(t.bench.task()), closeGrace, func(s *agent.Session) error {
		met = true
		end("%s", t.handshake(s, h, began, c))
		t.schema(ctx, s)
		if t.commands(ctx, s, h) {
			t.looks(ctx, s, h)
		} else {
			t.card.skip("the plugin does not answer", "runs")
		}
		return nil
	})
	if !met {
		c.fail("%s", h.why(err))
		end("the plugin does not start")
		t.card.skip("the plugin does not start", afterHandshake[:len(afterHandshake)-1]...)
		return
	}
	if ctx.Err() == nil {
		t.termination(ctx)
	}
}

// commands asks each once.
func (t *trial) commands(ctx context.Context, s *agent.Session, h *heard) bool {
	c, end := t.card.begin("commands")
	took, err := time.Duration(0), error(nil)
	if t.status(ctx, s, c) {
		took, err = t.look(ctx, s, h)
		if err != nil {
			c.fail("detect_triggers: %s", h.why(err))
		}
		h.tellStray(c)
	}
	if c.Verdict == Failed {
		end("not every command is answered as it must be")
	} else {
		end("get_status, get_health, detect_triggers in %s: %s", short(took), h.emitted())
	}
	return s.Err() == nil
}

// look is one detect_triggers, within the time that an agent gives it.
func (t *trial) look(ctx context.Context, s *agent.Session, h *heard) (time.Duration, error) {
	limited, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	began := time.Now()
	events, err := s.Detect(limited)
	for _, e := range events {
		h.event(e)
	}
	return time.Since(began), err
}

// looks uses the sensor many times, and sees what grows.
func (t *trial) looks(ctx context.Context, s *agent.Session, h *heard) {
	c, end := t.card.begin("runs")
	home, err := t.bench.Home(t.plugin.ID)
	if err != nil {
		c.warn("%s", err)
	}
	var took []time.Duration
	var samples []figures
	failures, until := 0, time.Now().Add(t.time)
	for i := 1; i <= t.runs && ctx.Err() == nil; i++ {
		d, err := t.look(ctx, s, h)
		if err != nil {
			if failures++; failures == 1 {
				c.fail("run %s: %s", thousands(i), h.why(err))
			}
		}
		if s.Err() != nil {
			break
		}
		took = append(took, d)
		if sampleAt(i, t.runs) {
			if f, ok := measure(s.Pid(), home); ok {
				f.at = i
				samples = append(samples, f)
			}
		}
		if time.Now().After(until) {
			c.warn("%s of %s runs were made in %s: --runs-time allows more", thousands(i), thousands(t.runs), t.time)
			break
		}
	}
	grown(samples, c)
	t.summary(c, took, failures, samples, end)
}

// summary says how the runs were, and what the process held at the end.
// It returns the median of the time that they took.
func (t *trial) summary(c *Check, took []time.Duration, failures int, samples []figures, end func(string, ...any)) time.Duration {
	if failures > 1 {
		c.note("and %s more", counted(failures-1, "failure"))
	}
	if len(took) == 0 {
		end("none came to its end")
		return 0
	}
	slices.Sort(took)
	median, slowest := took[len(took)/2], took[len(took)-1]
	if slowest > t.limit()/2 {
		c.warn("the slowest run took %s of the %s that it may take", short(slowest), t.limit())
	}
	switch {
	case len(samples) > 0:
		last := samples[len(samples)-1]
		c.note("at the end: %s, %s, %s, %s in TMPDIR and HOME",
			counted(last.descriptors, "descriptor"), processes(last.processes+1), mebibytes(last.resident), counted(last.files, "file"))
	case !canMeasure:
		c.note("what the process holds cannot be measured on this system")
	}
	end("%s, median %s, slowest %s", counted(len(took), "run"), short(median), short(slowest))
	return median
}

// termLimit is far below the grace that a process has between TERM and KILL (10 s), and
// far above what a busy machine takes to run a handler.
const termLimit = 8 * time.Second

// termination sends TERM to a sensor that waits for its next command.
func (t *trial) termination(ctx context.Context) {
	c, end := t.card.begin("TERM")
	var exit agent.Exit
	task := (&heard{}).listen(t.bench.task())
	task.Ended = func(e agent.Exit) { exit = e }
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent time.Time
	met := false
	_ = t.bench.Sense(asked, task, closeGrace, func(s *agent.Session) error { // that it ends early is what is wanted
		met, sent = true, time.Now()
		cancel()
		<-s.Done()
		return nil
	})
	if !met {
		c.fail("the plugin does not start a second time")
		end("not tried")
		return
	}
	end("%s", ended(c, exit, time.Since(sent)))
}

// ended judges how a process took to TERM.
func ended(c *Check, exit agent.Exit, took time.Duration) string {
	switch {
	case took >= termLimit:
		c.fail("it ignored TERM and had to be killed after %s: end what you do when SIGTERM comes; stavily.run() does it for you", short(took))
		return "does not end by itself"
	case exit.Signal == syscall.SIGKILL:
		c.note("it has no handler of SIGTERM, so it was killed at once: what it had not written is lost")
		return "ended at once"
	}
	return "ended in " + short(took)
}
