package supervise

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// LogSink takes a plugin's log, line by line, valid UTF-8, at most
// api.MaxLogLineBytes each. It is called by several goroutines, one at a time.
type LogSink interface {
	// Line is one line of the stream "stdout" or "stderr", or "record" where the plugin
	// sent it as one of its log, or "agent" where the supervision has something to say.
	Line(stream, text string)
}

// A chatty plugin logs a few lines a second. What comes faster for long is a
// flood, which must not fill the disk or the wire.
const (
	logRate  = 200  // lines a second
	logBurst = 2000 // a start-up or a stack trace
)

// throttle bounds the rate of a sink and says how much was dropped.
type throttle struct {
	sink    LogSink
	limiter *rate.Limiter

	mu      sync.Mutex // guards the fields below and calls of sink
	dropped int
	last    string // latest line of standard error: the likeliest reason of a failure
}

func newThrottle(sink LogSink) *throttle {
	return &throttle{sink: sink, limiter: rate.NewLimiter(logRate, logBurst)}
}

func (t *throttle) line(stream string, text []byte) {
	clean := plugin.LogText(string(text))
	t.mu.Lock()
	defer t.mu.Unlock()
	if stream == "stderr" && strings.TrimSpace(clean) != "" {
		t.last = clean
	}
	if !t.limiter.Allow() {
		t.dropped++
		return
	}
	t.sayDropped()
	t.sink.Line(stream, clean)
}

// sayDropped needs mu.
func (t *throttle) sayDropped() {
	if t.dropped > 0 {
		t.sink.Line("agent", fmt.Sprintf("%d lines are left out here: the plugin logs more than %d a second", t.dropped, logRate))
		t.dropped = 0
	}
}

// flush says what was dropped last.
func (t *throttle) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sayDropped()
}

// reason is the latest line of standard error, for an error message.
func (t *throttle) reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// pump passes a stream on as log until its end.
func (t *throttle) pump(stream string, r io.Reader) {
	lines := limits.NewLineReader(r, api.MaxLogLineBytes+1) // one more shows that there was more
	for {
		line, _, err := lines.Next()
		if err != nil {
			return // the end, or the pipe was closed after the process's death
		}
		t.line(stream, line)
	}
}

// Transcript is a LogSink that keeps what fits into a result: the first and the
// last lines, with a remark on what is missing between them. The zero value is
// ready; it is safe for concurrent use.
type Transcript struct {
	mu    sync.Mutex // guards the fields below
	first []string
	last  []string // a ring once it is full
	next  int      // where the ring's next line goes
	lost  int
}

// half of a transcript is its beginning, half its end; one line is the remark.
const half = api.MaxLogLines/2 - 1

// Line keeps one line; standard error and remarks of the agent are marked.
func (t *Transcript) Line(stream, text string) {
	if stream != "stdout" && stream != "record" {
		text = stream + ": " + text
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.first) < half:
		t.first = append(t.first, text)
	case len(t.last) < half:
		t.last = append(t.last, text)
	default:
		t.last[t.next] = text
		t.next = (t.next + 1) % half
		t.lost++
	}
}

// Lines returns what was kept, in order, at most api.MaxLogLines.
func (t *Transcript) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := append([]string(nil), t.first...)
	if t.lost > 0 {
		out = append(out, fmt.Sprintf("agent: %d lines are left out here", t.lost))
	}
	out = append(out, t.last[t.next:]...)
	return append(out, t.last[:t.next]...)
}
