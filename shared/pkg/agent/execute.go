package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/internal/warm"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Execute runs an action or output plugin for an instruction to its end and says
// how it went; there is always a result. Ending ctx stops the plugin. Attempt and
// lease are the caller's to add.
func (p *Plugins) Execute(ctx context.Context, t Task) api.Result {
	begin := time.Now()
	mayStart, begun := t.Ready, false
	t.Ready = func() (err error) {
		if mayStart != nil {
			err = mayStart()
		}
		if !begun { // what is prepared while the right to start is waited for is no part of the run
			_ = failpoint.Hit("execute.before")
			begun, begin = true, time.Now()
		}
		return err
	}
	result, err := p.execute(ctx, t)
	_ = failpoint.Hit("execute.ended") // no error: it cannot fail any more
	if err != nil {
		result.Status, result.ErrorMessage = api.Failed, err.Error()
	}
	if errors.Is(err, warm.ErrLost) {
		result.Status, result.ErrorDetails = api.Interrupted, StartedDetails(true)
	}
	result.ErrorMessage = p.rt.secrets.Redact(result.ErrorMessage)
	end := time.Now()
	result.StartedAt, result.FinishedAt, result.DurationMS = api.At(begin), api.At(end), end.Sub(begin).Milliseconds()
	result.Plugin = &api.PluginRef{ID: t.Plugin.ID, Version: t.Plugin.Version, Digest: t.Plugin.Digest}
	if result.Sandbox == nil {
		result.Sandbox = p.Posture()
	}
	return result
}

func (p *Plugins) execute(ctx context.Context, t Task) (api.Result, error) {
	_, whole, err := configuration(t.Plugin, t.Settings)
	if err != nil {
		return api.Result{}, err
	}
	parameters, err := t.parameters()
	if err != nil {
		return api.Result{}, err
	}
	checked := *t.Instruction // both contracts get the same: what fits the schema, with its defaults
	checked.InputData = parameters
	t.Instruction = &checked
	if t.outfit, err = p.outfitOf(ctx, t); err != nil {
		return api.Result{}, err
	}
	ran, err := p.actWarm(ctx, t, whole)
	if errors.Is(err, warm.ErrCold) { // nothing of it has begun
		ran, err = p.actCold(ctx, t, whole)
	}
	if err != nil {
		return api.Result{Network: ran.network}, err
	}
	if ran.Broke {
		p.Broke(t.Plugin, ran.Error)
	}
	result := p.judge(t, ran)
	result.Network = ran.network
	result.Sandbox = p.postureOf(p.reach(t.outfit.network))
	return result, nil
}

// acted is how the process of a task ended, and what it did on the network, which is
// known also where the rest is not.
type acted struct {
	supervise.ActionResult
	network []api.Traffic
}

// act runs the process of a task to its end.
func (p *Plugins) act(ctx context.Context, t Task, whole map[string]json.RawMessage) (ran acted, err error) {
	err = p.inRoom(ctx, t, func(r *room) error {
		flags, err := t.flags(r)
		if err != nil {
			return err
		}
		environment, err := t.environment(r)
		if err != nil {
			return err
		}
		if t.seat == nil { // a program runs from its start on, a fork when it is asked something
			if err := t.ready(); err != nil {
				return err
			}
		}
		tally := r.gate.Join(string(t.Instruction.ID))
		defer func() { ran.network = trafficOf(tally.Leave()) }()
		ran.ActionResult, err = supervise.RunAction(ctx, supervise.Action{
			Options:  supervise.Options{Spec: r.spec, Config: whole, Log: r.log, OnProgress: t.progress, Standby: r.standby, Environment: environment},
			Contract: t.Plugin.Runtime.Contract, Answered: t.Answered,
			Command: t.command(t.Instruction.InputData, r.spec.Limits),
			Flags:   flags,
			Ready:   t.Ready,
		})
		if errors.Is(err, supervise.ErrUnasked) {
			return fmt.Errorf("%w: %w", warm.ErrCold, err)
		}
		return err
	})
	return ran, err
}

// parameters applies the manifest's schema to what the instruction brings.
func (t Task) parameters() (map[string]json.RawMessage, error) {
	if len(t.Plugin.Parameters) == 0 {
		return t.Instruction.InputData, nil
	}
	out, err := t.Plugin.Parameters.Apply(t.Instruction.InputData)
	if err != nil {
		return nil, fmt.Errorf("parameters of %s: %w", t.Plugin.ID, err)
	}
	return out, nil
}

// command is what contract stdio is asked.
func (t Task) command(parameters map[string]json.RawMessage, l sandbox.Limits) plugin.Command {
	i, now := t.Instruction, api.At(time.Now())
	metadata := map[string]json.RawMessage{"idempotency_key": quoted(string(i.ID)), "attempt": fmt.Append(nil, i.Attempt)}
	if t.Plugin.Kind == plugin.Output {
		content, err := json.Marshal(parameters)
		if err != nil { // values that came as JSON go as JSON
			content = nil
		}
		return plugin.Command{Action: plugin.SendOutput, Output: &plugin.Message{
			ID: i.ID, Type: i.Context.Workflow, Content: content, Format: "json", Metadata: metadata, Timestamp: now,
		}}
	}
	return plugin.Command{Action: plugin.ExecuteAction, ActionRequest: &plugin.ActionRequest{
		ID: i.ID, Type: i.InstructionType, Parameters: parameters, Timeout: l.Time.Seconds(), Metadata: metadata, RequestedAt: now,
		Context: map[string]json.RawMessage{
			"workflow": quoted(i.Context.Workflow), "run_id": quoted(string(i.Context.RunID)),
			"step": quoted(i.Context.Step), "event_id": quoted(string(i.Context.EventID)),
		},
	}}
}

func quoted(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // text always marshals
		return json.RawMessage("null")
	}
	return b
}

// flags are the arguments of contract script: the configuration, what the
// instruction sets where the host's owner allows that, and the input file for
// plugins that want it on the command line.
func (t Task) flags(r *room) ([]string, error) {
	explicit, _, err := configuration(t.Plugin, t.Settings)
	if err != nil {
		return nil, err
	}
	flags, err := plugin.Flags(explicit, t.Plugin.Configuration)
	if err != nil {
		return nil, err
	}
	arguments := t.Instruction.PluginConfiguration.Arguments
	if len(arguments) > 0 || t.Plugin.InputFile {
		flags = append(flags, "--input", filepath.Join(r.temp, inputFile))
	}
	return append(flags, arguments...), nil
}

// judge makes a result of how the run ended. Data over the limit of the wire, as it would be
// sent and without secrets, is kept whole in a file on this host for a while and replaced by a
// marker. That the file cannot be written changes nothing of the status: what the plugin did is done.
func (p *Plugins) judge(t Task, ran acted) api.Result {
	code := ran.Exit.Code
	p.rt.counts.took(t.Plugin.ID, ran.Exit)
	out := api.Result{
		Status: ran.Status, Result: p.rt.secrets.RedactJSON(ran.Data), ErrorMessage: plugin.LogText(ran.Error), ExitCode: &code,
		ResourceUsage: &api.ResourceUsage{CPUSeconds: ran.Exit.CPU.Seconds(), MaxRSSBytes: ran.Exit.MaxRSS, StoredBytes: ran.Exit.Stored},
	}
	if ran.Exit.Reason != "" {
		out.ErrorDetails = json.RawMessage(`{"reason":` + string(quoted(string(ran.Exit.Reason))) + `}`)
	}
	if sent, err := api.Marshal(out.Result); ran.Truncated || err != nil || len(sent) > api.MaxResultBytes {
		out.Result = p.rt.KeepWhole(string(t.Instruction.ID), out.Result, "")
	}
	return out
}
