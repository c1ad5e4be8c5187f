package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// bench is a workbench in a throw-away directory with the plugin that is tried on it.
type bench struct {
	*agent.Workbench
	plugin   *plugin.Plugin
	setting  *setting
	settings config.PluginFile
	dir      string
}

// openBench prepares one. What an agent would log goes to agentLog.
func openBench(ctx context.Context, p *plugin.Plugin, s *setting, observer string, agentLog io.Writer) (*bench, error) {
	b := &bench{plugin: p, setting: s}
	var err error
	if b.settings, err = s.file(p); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "stavily-"); err != nil {
		return nil, fmt.Errorf("make a directory to try the plugin in: %w", err)
	}
	typ := api.Action
	if p.Kind == plugin.Sensor {
		typ = api.Sensor
	}
	b.Workbench, err = agent.OpenWorkbench(ctx, agent.WorkbenchOptions{
		Dir: b.dir, Agent: typ, Python: s.python, Adjust: s.adjust, Observer: observer,
		Log: slog.New(slog.NewTextHandler(agentLog, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	if err := b.Prepare(ctx, p, s.progress); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) close() error {
	return errors.Join(b.Close(), os.RemoveAll(b.dir))
}

// task is one process of the plugin that is a sensor, or is spoken to as one.
func (b *bench) task() agent.Task {
	return agent.Task{
		Plugin: b.plugin, Settings: b.settings, Forever: true, Line: func(string) {},
		Trigger: func(context.Context, api.Event) (api.EventID, error) { return "try-event", nil },
	}
}

// order is a task for one run of an action or output.
func (b *bench) order(number int) (agent.Task, error) {
	t := agent.Task{Plugin: b.plugin, Settings: b.settings, Line: func(string) {}}
	var err error
	t.Instruction, err = b.setting.instruction(b.plugin, number)
	return t, err
}
