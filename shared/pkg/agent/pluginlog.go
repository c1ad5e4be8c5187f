package agent

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// pluginLogs holds the log files, one for each plugin, that were written to so far.
type pluginLogs struct {
	dir string

	mu      sync.Mutex // guards the fields below
	options telemetry.LogOptions
	open    map[api.PluginID]*pluginFile
}

// pluginFile is one of them. It is opened anew when the way of logging changed, also for
// a process that writes to it.
type pluginFile struct {
	logs *pluginLogs
	id   api.PluginID

	mu sync.Mutex // guards w; held while a line is written
	w  io.WriteCloser
}

func (f *pluginFile) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w == nil {
		f.logs.mu.Lock()
		options := f.logs.options
		f.logs.mu.Unlock()
		w, err := telemetry.NewPluginLog(f.logs.dir, string(f.id), options)
		if err != nil {
			return 0, err
		}
		f.w = w
	}
	return f.w.Write(line)
}

func (f *pluginFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w != nil {
		f.w.Close() // its lines were written unbuffered; there is nothing left to lose
		f.w = nil
	}
}

func (l *pluginLogs) of(id api.PluginID) io.Writer {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.open[id]
	if f == nil {
		f = &pluginFile{logs: l, id: id}
		l.open[id] = f
	}
	return f
}

// use has everything written from now on as o says.
func (l *pluginLogs) use(o telemetry.LogOptions) {
	l.mu.Lock()
	l.options = o
	l.mu.Unlock()
	l.close()
}

// close closes the files; one that is written to again is opened again.
func (l *pluginLogs) close() {
	l.mu.Lock()
	all := slices.Collect(maps.Values(l.open))
	l.mu.Unlock()
	for _, f := range all {
		f.close()
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

func (p *Plugins) logOf(t Task) *pluginLog {
	p.hide(t)
	origin := t.Settings.Name
	if t.Instruction != nil {
		origin = string(t.Instruction.ID)
	}
	return &pluginLog{rt: p.rt, task: t, origin: origin, file: p.logs.of(t.Plugin.ID)}
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
