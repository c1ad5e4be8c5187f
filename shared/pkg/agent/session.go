package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// What roles use of the supervision.
type (
	// KeepState is what Keep tells of a plugin that it keeps running.
	KeepState = supervise.State
	// KeepPolicy tunes Keep.
	KeepPolicy = supervise.Policy
)

// Phases of a KeepState that roles act on.
const (
	MonitorRunning = supervise.Running
	MonitorWaiting = supervise.Waiting
)

// Keep runs a plugin again and again with growing pauses until ctx ends; see
// supervise.Keep.
func Keep(ctx context.Context, p KeepPolicy, run func(ctx context.Context, up func()) error) {
	supervise.Keep(ctx, p, run)
}

// Session is a running sensor plugin of contract stdio.
type Session struct {
	*supervise.Session
	source plugin.EventSource
}

// Sense starts a sensor's process, shakes hands with it, calls use, and ends the
// process in order, at most grace after it was asked to.
func (p *Plugins) Sense(ctx context.Context, t Task, grace time.Duration, use func(*Session) error) error {
	_, whole, err := configuration(t.Plugin, t.Settings)
	if err != nil {
		return err
	}
	leave, err := p.roomToSense(ctx, t)
	if err != nil {
		return err
	}
	defer leave()
	return p.inRoom(ctx, t, func(r *room) error {
		source := plugin.EventSource{Plugin: t.Plugin.ID, Monitor: t.Settings.Name}
		s, err := supervise.Open(ctx, supervise.Options{
			Spec: r.spec, Config: whole, Log: r.log, Answer: t.Settings.Timeout.Duration(),
			OnEvent: func(raw json.RawMessage) { p.pushed(ctx, t, source, raw) },
		})
		if err != nil {
			return fmt.Errorf("plugin %s %w", t.Plugin.ID, err)
		}
		err = use(&Session{s, source})
		_, closing := s.Close(grace)
		return errors.Join(err, closing)
	})
}

// roomToSense waits for memory. A version that is tried is not counted: it could wait for
// the very process that it is to replace.
func (p *Plugins) roomToSense(ctx context.Context, t Task) (leave func(), err error) {
	if t.Trial {
		return func() {}, nil
	}
	return p.MakeRoom(ctx, t)
}

// pushed takes events that a plugin sends without being asked. One that cannot be taken
// costs only itself.
func (p *Plugins) pushed(ctx context.Context, t Task, source plugin.EventSource, raw json.RawMessage) {
	source.Now = time.Now()
	events, err := plugin.DecodeEvents(raw, source)
	for _, e := range events {
		_, refused := t.Trigger(ctx, e)
		err = errors.Join(err, refused)
	}
	if err != nil {
		p.rt.Log.Warn("pushed event refused", telemetry.KeyPlugin, t.Plugin.ID, telemetry.KeyMonitor, t.Settings.Name, telemetry.KeyError, err)
	}
}

// Detect asks for events once. A plugin that does not answer before ctx ends is at
// fault and its session over.
func (s *Session) Detect(ctx context.Context) ([]api.Event, error) {
	answer, err := s.Call(ctx, plugin.Command{Action: plugin.DetectTriggers})
	if err != nil {
		return nil, fmt.Errorf("plugin %s %w", s.source.Plugin, err)
	}
	if !answer.Success {
		return nil, fmt.Errorf("plugin %s: %s", s.source.Plugin, answer.Error)
	}
	source := s.source
	source.Now = time.Now()
	return plugin.DecodeEvents(answer.Data, source)
}

// Stream runs a monitor of contract script until it ends by itself or ctx does.
func (p *Plugins) Stream(ctx context.Context, t Task) error {
	explicit, _, err := configuration(t.Plugin, t.Settings)
	if err != nil {
		return err
	}
	flags, err := plugin.Flags(explicit, t.Plugin.Configuration)
	if err != nil {
		return err
	}
	leave, err := p.roomToSense(ctx, t)
	if err != nil {
		return err
	}
	defer leave()
	// What the process reports after it was asked to end, within its grace, is taken.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	return p.inRoom(life, t, func(r *room) error {
		r.spec.Args = append(r.spec.Args, flags...)
		result, err := supervise.RunScript(ctx, supervise.ScriptOptions{Spec: r.spec, Log: r.log, Stream: true})
		if err != nil {
			return err
		}
		if result.Reason != "" && !result.Exit.Success() {
			return fmt.Errorf("plugin %s %s: %s", t.Plugin.ID, result.Exit, result.Reason)
		}
		return fmt.Errorf("plugin %s %s", t.Plugin.ID, result.Exit)
	})
}
