package agent

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// pluginLogs holds the log files, one for each plugin, that were written to so far.
type pluginLogs struct {
	dir     string
	options telemetry.LogOptions

	mu   sync.Mutex // guards open
	open map[api.PluginID]io.WriteCloser
}

func (l *pluginLogs) of(id api.PluginID) (io.Writer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w, ok := l.open[id]; ok {
		return w, nil
	}
	w, err := telemetry.NewPluginLog(l.dir, string(id), l.options)
	if err != nil {
		return nil, err
	}
	l.open[id] = w
	return w, nil
}

// close is for the end of the agent, when nothing writes any more.
func (l *pluginLogs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.open {
		w.Close() // its lines were written unbuffered; there is nothing left to lose
	}
}

// pluginLog is where the lines of one process go: the plugin's log file, and either
// the task's own listener or the copy for the orchestrator. Safe for concurrent use.
type pluginLog struct {
	rt     *Runtime
	task   Task
	origin string // the monitor or instruction, in each line of the file
	file   io.Writer
}

func (p *Plugins) logOf(t Task) (*pluginLog, error) {
	p.hide(t)
	file, err := p.logs.of(t.Plugin.ID)
	origin := t.Settings.Name
	if t.Instruction != nil {
		origin = string(t.Instruction.ID)
	}
	return &pluginLog{rt: p.rt, task: t, origin: origin, file: file}, err
}

// Line takes what the process printed. The SDK begins lines with their level.
func (l *pluginLog) Line(stream, text string) {
	level := "info"
	for _, name := range []string{"debug", "info", "warn", "error"} {
		if rest, found := strings.CutPrefix(text, name+":"); found {
			level, text = name, strings.TrimSpace(rest)
			break
		}
	}
	switch {
	case stream == "agent":
		level = "warn"
	case stream == "stdout" && l.task.Stray != nil:
		l.task.Stray(text)
	}
	l.entry(api.LogEntry{Level: level, Message: text})
}

// entry takes one entry, as upload_logs sends them.
func (l *pluginLog) entry(e api.LogEntry) {
	if e.Timestamp.IsZero() {
		e.Timestamp = api.At(time.Now())
	}
	e.Message = l.rt.secrets.Redact(e.Message)
	line := fmt.Sprintf("%s %-5s [%s] %s", e.Timestamp.UTC().Format(api.TimeLayout), e.Level, l.origin, e.Message)
	condition := "plugin_log_" + string(l.task.Plugin.ID)
	if _, err := l.file.Write([]byte(line)); err != nil {
		l.rt.Health.Set(condition, Degraded, false, "the log of plugin "+string(l.task.Plugin.ID)+": "+err.Error(), "free disk space or correct the permissions of logs/plugins")
	} else {
		l.rt.Health.Clear(condition)
	}
	if l.task.Line != nil {
		l.task.Line(e.Level + ": " + e.Message)
		return
	}
	e.Plugin = l.task.Plugin.ID
	l.rt.logs.add(e)
}
