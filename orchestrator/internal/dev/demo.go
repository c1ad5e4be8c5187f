package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// What Demo may kill on the way.
const (
	CrashNothing = ""
	CrashAgent   = "agent"  // the action agent, in the middle of its clean-up
	CrashServer  = "server" // the server, between the event and the action
)

// demoLimit bounds the whole demo; it takes a few seconds.
const demoLimit = 90 * time.Second

// crashThrottle makes the clean-up last a few seconds, so that a kill hits its middle.
const crashThrottle = 60 // files a second

// demo is one telling.
type demo struct {
	*setup
	*story
	crash string
}

// Demo shows the main job once, tells it on out, and returns an error that names
// what does not hold.
func Demo(ctx context.Context, out io.Writer, crash string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("the demo did not end within %v", demoLimit))
	defer cancel()
	dir, err := os.MkdirTemp("", "stavily-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)

	begin := time.Now()
	d := &demo{story: newStory(out), crash: crash}
	logs := &tail{}
	throttle := 0
	if crash == CrashAgent {
		throttle = crashThrottle
	}
	d.setup, err = newSetup(ctx, dir, throttle, logs.line)
	if err == nil {
		d.tell("set-up", "server %s and two agents run, enrolled over mutual TLS, in %s", d.URL(), dir)
		err = d.play(ctx)
	}
	var checks []check
	if err == nil {
		checks, err = d.checks(ctx)
	}
	if err = errors.Join(err, d.setup.close()); err != nil {
		return fmt.Errorf("%w\nthe last lines of the processes:\n%s", errors.Join(err, context.Cause(ctx)), logs)
	}
	return summary(out, checks, time.Since(begin))
}

// play makes it happen and tells it.
func (d *demo) play(ctx context.Context) error {
	if err := d.beforeTrigger(); err != nil {
		return err
	}
	if err := d.fill(); err != nil {
		return err
	}
	d.tell("you", "filled %s with %d files, %s: the limit is %s", d.watched, fileCount, mib(fileCount*fileSize), mib(limit))
	high, err := d.awaitEvent(ctx, "directory.size.high")
	if err != nil {
		return err
	}
	d.tell("sensor", "noticed %s: %s", high.Type, high.Data["bytes"])
	run, err := d.awaitRun(ctx, high.ID)
	if err != nil {
		return err
	}
	d.tell("workflow", "%s version %d started run %s", run.Workflow, run.Version, run.ID)
	if err := d.crashNow(ctx); err != nil {
		return err
	}
	if err := d.followRun(ctx, run.ID); err != nil {
		return err
	}
	for _, text := range d.receiver.messages() {
		d.tell("webhook", "%q arrived", text)
	}
	ok, err := d.awaitEvent(ctx, "directory.size.ok")
	if err != nil {
		return err
	}
	d.tell("sensor", "reports recovery, %s: %s bytes", ok.Type, ok.Data["bytes"])
	return nil
}

// beforeTrigger holds the action agent still where the server is to die before the
// action: otherwise the action would be through first.
func (d *demo) beforeTrigger() error {
	if d.crash != CrashServer {
		return nil
	}
	d.tell("you", "paused the action agent, so that the server can die between event and action")
	return d.Process(actionID).Pause()
}

// crashNow kills what is to be killed and starts it again.
func (d *demo) crashNow(ctx context.Context) error {
	switch d.crash {
	case CrashAgent:
		return d.crashAgent(ctx)
	case CrashServer:
		paused := d.Process(actionID)
		d.Kill(cluster.ServerName)
		d.tell("you", "killed the server (SIGKILL)")
		if err := d.StartServer(ctx); err != nil {
			return err
		}
		d.tell("you", "started the server again and let the action agent go on")
		return paused.Resume()
	}
	return nil
}

func (d *demo) crashAgent(ctx context.Context) error {
	err := d.poll(ctx, func() (bool, error) {
		files, _, err := d.measure()
		return files < fileCount-5, err // a few are gone: it is at work
	})
	if err != nil {
		return err
	}
	d.Kill(actionID)
	files, _, err := d.measure()
	if err != nil {
		return err
	}
	d.tell("you", "killed the action agent (SIGKILL) in the middle of its clean-up: %d of %d files are left", files, fileCount)
	if err := d.StartAgent(ctx, actionID); err != nil {
		return err
	}
	d.tell("you", "started the action agent again")
	return nil
}

// poll asks until done says yes. The operator API is on this machine and answers in
// a millisecond, so asking often costs little and keeps the story's times honest.
func (d *demo) poll(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (d *demo) awaitEvent(ctx context.Context, typ string) (found operatorapi.Event, err error) {
	err = d.poll(ctx, func() (bool, error) {
		events, err := d.events(ctx, typ)
		if len(events) == 0 {
			return false, err
		}
		found = events[0]
		return true, err
	})
	return found, err
}

func (d *demo) events(ctx context.Context, typ string) ([]operatorapi.Event, error) {
	var events []operatorapi.Event
	err := d.operator.Do(ctx, "GET", "/api/v1/events", url.Values{"type": {typ}}, nil, &events)
	return events, err
}

func (d *demo) runs(ctx context.Context) ([]operatorapi.Run, error) {
	var runs []operatorapi.Run
	err := d.operator.Do(ctx, "GET", "/api/v1/runs", nil, nil, &runs)
	return runs, err
}

func (d *demo) awaitRun(ctx context.Context, event api.EventID) (found operatorapi.Run, err error) {
	err = d.poll(ctx, func() (bool, error) {
		runs, err := d.runs(ctx)
		for _, r := range runs {
			if r.EventID == event {
				found = r
				return true, err
			}
		}
		return false, err
	})
	return found, err
}

// followRun tells every entry of the run's history until the run has ended.
func (d *demo) followRun(ctx context.Context, id api.RunID) error {
	return d.operator.Follow(ctx, "/api/v1/runs/"+string(id)+"/follow", nil, func(line json.RawMessage) error {
		var h operatorapi.History
		if err := json.Unmarshal(line, &h); err != nil {
			return fmt.Errorf("follow run %s: %w", id, err)
		}
		d.tell("run", "%s %s %s", h.Kind, h.Step, h.Message)
		return nil
	})
}

// checks looks at what is left, from outside.
func (d *demo) checks(ctx context.Context) ([]check, error) {
	_, left, err := d.measure()
	if err != nil {
		return nil, err
	}
	high, err := d.events(ctx, "directory.size.high")
	if err != nil {
		return nil, err
	}
	runs, err := d.runs(ctx)
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, errors.New("no run is recorded")
	}
	var run operatorapi.RunDetail
	if err := d.operator.Do(ctx, "GET", "/api/v1/runs/"+string(runs[0].ID), nil, nil, &run); err != nil {
		return nil, err
	}
	cleaned, attempts := 0, 0
	for _, s := range run.Steps {
		if s.Step == "clean" && s.Status == api.Completed {
			cleaned++
			attempts = s.Attempt
		}
	}
	messages := len(d.receiver.messages())
	wantAttempts := map[string]int{CrashNothing: 1, CrashServer: 1, CrashAgent: 2}[d.crash]
	return []check{
		{"the sensor reported the full directory once", fmt.Sprintf("%d events", len(high)), len(high) == 1},
		{"one run of the workflow, completed", fmt.Sprintf("%d runs, %s", len(runs), run.Status), len(runs) == 1 && run.Status == string(api.Completed)},
		{"one clean-up", fmt.Sprintf("%d completed", cleaned), cleaned == 1},
		{fmt.Sprintf("attempts of the clean-up: %d", wantAttempts), fmt.Sprint(attempts), attempts == wantAttempts},
		{"the directory is down to its target, " + mib(target), mib(left), left <= target},
		{"one message arrived at the webhook", fmt.Sprint(messages), messages == 1},
	}, nil
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// tail keeps the last lines of all processes for when something goes wrong.
type tail struct {
	mu    sync.Mutex // guards lines
	lines [40][]byte
	next  int
}

func (t *tail) line(process, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[t.next%len(t.lines)] = []byte(process + ": " + line)
	t.next++
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.next % len(t.lines)
	ordered := append(append([][]byte{}, t.lines[at:]...), t.lines[:at]...)
	return string(bytes.TrimSpace(bytes.Join(ordered, []byte("\n"))))
}
