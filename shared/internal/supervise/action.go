package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Action is one run of an action or output plugin.
type Action struct {
	Options
	Contract plugin.Contract
	Command  plugin.Command // contract stdio: execute_action or send_output
	Flags    []string       // contract script: follow the arguments of the Spec

	// Ready is called once a process of contract stdio waits for its command, which it gets
	// when this returns; its error ends the process, which was asked nothing. It may be nil.
	Ready func() error

	Answered func(pid int) // contract stdio: hears of the process that has answered and is still there; may be nil
}

// ActionResult is how it ended.
type ActionResult struct {
	plugin.ActionResult
	Contract  plugin.Contract // the one that was spoken
	Exit      sandbox.Exit
	Truncated bool        // Data is only the first MiB
	Broke     bool        // the process broke its contract or ended without an answer, and nobody made it
	Info      plugin.Info // what a process of contract stdio said of itself; empty for one that was forked
}

// RunAction runs an action or output to its end. Ending ctx asks the plugin to
// stop (TERM); what it still answers within the grace of the Spec counts. The
// error says that the plugin could not be started or watched; everything that the
// plugin does is in the result.
//
// An action that does not say which contract it speaks (plugin.Detect) is started
// once, ready for both: with the script's flags, and with get_info on its input. An
// answer to that makes it stdio. Its end without one, or silence past the limit of
// an answer, makes it a script: its input is closed and all that it prints is its
// output. It is not started a second time, since the first run may have had effects.
func RunAction(ctx context.Context, a Action) (ActionResult, error) {
	if a.Contract != plugin.Stdio && a.Standby == nil {
		a.Spec.Args = append(append([]string(nil), a.Spec.Args...), a.Flags...)
	}
	if a.Contract == plugin.Script {
		r, err := RunScript(ctx, ScriptOptions{Spec: a.Spec, Log: a.Log})
		return ofScript(ctx, r), err
	}
	asked := make(chan struct{})
	a.asked = asked
	s, err := begin(ctx, a.Options, a.Contract == plugin.Detect && a.Standby == nil)
	if err != nil {
		return ActionResult{}, err
	}
	// The process obeys ctx. Calls do not, so that an answer within the grace is heard.
	calls := context.WithoutCancel(ctx)
	if a.Standby == nil {
		var info plugin.Response
		info, err = s.detect(calls)
		if err == nil && s.isUndecided() {
			exit, err := s.Close(0)
			return ofScript(ctx, scriptResult(s.text, s.log, exit)), err
		}
		if err == nil {
			err = s.ready(calls, info)
		}
	}
	var response plugin.Response
	if err == nil {
		if err := a.allowed(s); err != nil {
			_, left := s.Close(0)
			return ActionResult{}, errors.Join(err, left)
		}
		close(asked)
		response, err = s.Call(calls, a.Command)
		if _, dead := errors.AsType[*unsent](err); dead && a.Standby != nil { // which nobody had told yet
			_, left := s.Close(0)
			return ActionResult{}, errors.Join(fmt.Errorf("%w: %w", ErrUnasked, err), left)
		}
		if err == nil && a.Answered != nil {
			a.Answered(s.Pid())
		}
	}
	exit, closeErr := s.Close(a.grace())
	r := ofSession(ctx, response, err, exit)
	r.Info = s.info
	return r, closeErr
}

// ErrUnasked says that a process that was forked ended before it was asked anything.
var ErrUnasked = errors.New("the process ended before it was asked anything")

// allowed waits until a process may be given its command.
func (a *Action) allowed(s *Session) error {
	if a.Ready == nil {
		return nil
	}
	if err := a.Ready(); err != nil {
		return err
	}
	if fault := s.Err(); fault != nil && a.Standby != nil { // any other process is asked, and says so itself
		return fmt.Errorf("%w: %w", ErrUnasked, fault)
	}
	return nil
}

func (a *Action) grace() time.Duration {
	if a.Spec.Grace == 0 {
		return sandbox.DefaultGrace
	}
	return a.Spec.Grace
}

// detect waits for the answer to get_info. A process that stays undecided has
// ended, however that took.
func (s *Session) detect(ctx context.Context) (plugin.Response, error) {
	if !s.isUndecided() {
		return s.step(ctx, hello)
	}
	answered := make(chan struct{})
	var response plugin.Response
	var err error
	go func() {
		defer close(answered)
		response, err = s.Call(ctx, hello)
	}()
	late := false
	select {
	case <-answered:
	case <-time.After(s.opts.Answer):
		late = true
		s.stdin.Close() // a script that reads its input to the end goes on
		<-answered
	}
	switch {
	case s.isUndecided():
		return plugin.Response{}, nil
	case late:
		err = faultf(Silent, "did not answer %s in time", hello.Action)
	case err == nil && !response.Success:
		err = faultf(Refused, "%s: %s", hello.Action, response.Error)
	}
	return response, err
}

// ofSession judges a run of contract stdio.
func ofSession(ctx context.Context, response plugin.Response, err error, exit sandbox.Exit) ActionResult {
	r := ActionResult{Contract: plugin.Stdio, Exit: exit}
	if err == nil {
		r.ActionResult = plugin.DecodeActionResult(response)
	} else {
		r.Status, r.Error = api.Failed, "the plugin "+err.Error()
		var f *Fault
		found := errors.As(err, &f)
		if found && f.Exit != nil {
			r.Exit = *f.Exit
		}
		r.Broke = found && r.Exit.Reason == "" && ctx.Err() == nil
	}
	r.because(ctx)
	return r
}

// ofScript judges a run of contract script.
func ofScript(ctx context.Context, s ScriptResult) ActionResult {
	r := ActionResult{Contract: plugin.Script, Exit: s.Exit, Truncated: s.Truncated}
	r.Status, r.Data = api.Completed, s.Data
	if !s.Exit.Success() {
		r.Status, r.Error = api.Failed, "the plugin "+s.Exit.String()
		if s.Reason != "" {
			r.Error += ": " + s.Reason
		}
	}
	r.Bound()
	r.because(ctx)
	return r
}

// because names what ended a run from outside. A run that completed all the same,
// within its grace, stays completed: what it did is done.
func (r *ActionResult) because(ctx context.Context) {
	switch {
	case r.Status == api.Completed:
	case r.Exit.Reason == sandbox.TimeLimit, r.Exit.Reason == sandbox.Stopped && errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.Status = api.TimedOut
	case r.Exit.Reason == sandbox.Stopped && ctx.Err() != nil:
		r.Status = api.Cancelled
	}
}
