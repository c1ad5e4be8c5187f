package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func runCommand() *cobra.Command {
	var s setting
	interval := time.Duration(0)
	cmd := &cobra.Command{
		Use:   "run DIR",
		Short: "Run a plugin in the real sandbox and see events, logs, progress and results live",
		Long: `Runs the plugin in DIR as an agent of this host would. A sensor runs until Ctrl-C; an action or an output runs once,
with the parameters that are given, and its result decides the exit code. Nothing is sent anywhere.`,
		Example: "  stavily plugin run disk-space --config threshold=1 --interval 2s\n  stavily plugin run cleanup --config 'roots=[\"/tmp/scratch\"]' --param path=/tmp/scratch\n  stavily plugin run webhook --param text=hello -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, warnings, err := plugin.Load(args[0])
			if err != nil {
				return notValid(args[0], err)
			}
			feed := &feed{w: cmd.OutOrStdout(), json: asJSON(cmd)}
			for _, w := range warnings {
				feed.tell("warning", w.Error(), nil)
			}
			s.progress = func(what string) { feed.tell("state", what, nil) }
			b, err := openBench(cmd.Context(), p, &s, "", feed)
			if err != nil {
				return err
			}
			return errors.Join(b.run(cmd.Context(), feed, interval), b.close(), feed.err)
		},
	}
	s.register(cmd)
	cmd.Flags().DurationVar(&interval, "interval", 0, "`time` between two looks of a sensor (default: what the plugin wishes, or 30 s)")
	return cmd
}

// feed prints what happens, one line each. It is safe for concurrent use.
type feed struct {
	w    io.Writer
	json bool

	mu  sync.Mutex // guards the field below and w
	err error
}

// happening is a line of the feed as JSON.
type happening struct {
	Time time.Time `json:"time"`
	What string    `json:"what"` // event, log, progress, stray, state, warning, agent or result
	Text string    `json:"text,omitempty"`
	Data any       `json:"data,omitempty"`
}

func (f *feed) tell(what, text string, data any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	var err error
	if f.json {
		err = json.NewEncoder(f.w).Encode(happening{now.UTC(), what, text, data})
	} else {
		_, err = fmt.Fprintf(f.w, "%s  %-8s  %s\n", now.Format("15:04:05.000"), what, terminal.Printable(text))
	}
	if f.err == nil {
		f.err = err
	}
}

// Write takes lines of what an agent would log.
func (f *feed) Write(line []byte) (int, error) {
	for _, l := range lines(string(line)) {
		f.tell("agent", l, nil)
	}
	return len(line), nil
}

func (f *feed) event(e api.Event) {
	data, err := json.Marshal(e.Data)
	if err != nil { // it came as JSON
		data = nil
	}
	text := fmt.Sprintf("%s  severity=%s", e.Type, e.Severity)
	if e.Key != "" {
		text += " key=" + e.Key
	}
	f.tell("event", fmt.Sprintf("%s %s", text, data), e)
}

// listen lets a task tell the feed all.
func (f *feed) listen(t agent.Task) agent.Task {
	t.Line = func(text string) { f.tell("log", text, nil) }
	t.Progress = func(p plugin.Progress) {
		text := p.Message
		if p.Percent != nil {
			text = fmt.Sprintf("%3.0f%%  %s", *p.Percent, text)
		}
		f.tell("progress", text, p)
	}
	if t.Instruction == nil {
		t.Trigger = func(_ context.Context, e api.Event) (api.EventID, error) {
			f.event(e)
			return "try-event", nil
		}
	}
	return t
}

// run is the whole of one run; how a sensor's ends is told by the feed.
func (b *bench) run(ctx context.Context, f *feed, interval time.Duration) error {
	f.tell("state", fmt.Sprintf("%s %s, sandbox %s", b.plugin.ID, b.plugin.Version, b.Posture()), nil)
	reach, err := b.Reach(b.task())
	if err != nil {
		return err
	}
	for _, d := range reach.Decisions {
		f.tell("state", d.String(), nil)
	}
	switch {
	case b.plugin.Kind != plugin.Sensor:
		return b.runOnce(ctx, f)
	case b.plugin.Runtime.Contract == plugin.Script:
		err = b.Stream(ctx, f.listen(b.task()))
	default:
		err = b.Sense(ctx, f.listen(b.task()), closeGrace, func(s *agent.Session) error { return b.watch(ctx, s, f, interval) })
	}
	if ctx.Err() != nil { // asked for
		f.tell("state", "stopped", nil)
		return nil
	}
	return err
}

// runOnce executes an action or an output.
func (b *bench) runOnce(ctx context.Context, f *feed) error {
	task, err := b.order(1)
	if err != nil {
		return err
	}
	r := b.Execute(ctx, f.listen(task))
	for _, to := range r.Network {
		f.tell("state", fmt.Sprintf("network %s: %d connections, %d bytes sent, %d received %s", to.Destination, to.Connections, to.BytesSent, to.BytesReceived, to.LastError), to)
	}
	f.tell("result", fmt.Sprintf("%s in %d ms: %s%s", r.Status, r.DurationMS, r.Result, r.ErrorMessage), r)
	if r.Status != api.Completed {
		return fmt.Errorf("%s ended as %s", b.plugin.ID, r.Status)
	}
	return nil
}

// defaultInterval is a monitor's where nobody says otherwise.
const defaultInterval = 30 * time.Second

// watch looks at every interval, until ctx or the plugin ends.
func (b *bench) watch(ctx context.Context, s *agent.Session, f *feed, interval time.Duration) error {
	if interval <= 0 {
		interval = s.Info().Interval
	}
	if interval <= 0 {
		interval = defaultInterval
	}
	f.tell("state", fmt.Sprintf("runs; a look every %s", interval), nil)
	for {
		limited, cancel := context.WithTimeout(ctx, b.setting.timeout)
		events, err := s.Detect(limited)
		cancel()
		if s.Err() != nil {
			return s.Err()
		}
		if err != nil {
			f.tell("warning", err.Error(), nil)
		}
		for _, e := range events {
			f.event(e)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Done():
			return s.Err()
		case <-time.After(interval):
		}
	}
}
