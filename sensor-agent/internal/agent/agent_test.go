//go:build unix

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// counting reports three events at its first look and one at each that follows, up to ten.
const counting = `
def look(n):
    mark("looked", n)
    return [event("count.a"), event("count.b"), event("count.c")] if n == 1 else event("count.%d" % n) if n <= 10 else event("more") if there("more") else None
serve(look)
`

func (r *run) spooled(text string) bool {
	r.t.Helper()
	segments, err := filepath.Glob(filepath.Join(r.base, "data", "spool", "log", "*"))
	if err != nil {
		r.t.Error(err)
	}
	return slices.ContainsFunc(segments, func(name string) bool {
		content, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(content), text)
	})
}

// Events are on disk before they travel, travel in order under numbers that never
// change, and travel no more once they are acknowledged, over a crash as well.
func TestEventsArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"counting": counting}, "")
	o.refuse = func(n int, b api.EventBatch) error {
		for _, e := range b.Events {
			if !r.spooled(string(e.ID)) {
				t.Errorf("event %d was sent before it was on disk", e.Seq)
			}
		}
		return map[int]error{1: api.Errorf(api.CodeUnavailable, "busy"), 2: errCut}[n]
	}
	r.start()
	o.until("all, acknowledged", func() bool {
		return slices.ContainsFunc(o.batches[min(2, len(o.batches)):], func(b api.EventBatch) bool { return b.Events[len(b.Events)-1].Seq >= 12 })
	})
	first := map[uint64]api.Event{}
	for _, b := range o.sent() {
		for i, e := range b.Events {
			if known, ok := first[e.Seq]; ok && known.ID != e.ID || i > 0 && e.Seq != b.Events[i-1].Seq+1 {
				t.Errorf("number %d is event %s and was %s", e.Seq, e.ID, known.ID)
			}
			first[e.Seq] = e
		}
	}
	var got []string
	for seq := uint64(1); seq <= uint64(len(first)); seq++ {
		got = append(got, first[seq].Type)
	}
	same(t, "events", strings.Fields("count.a count.b count.c count.2 count.3 count.4 count.5 count.6 count.7 count.8 count.9 count.10"), got)
	e := first[1]
	same(t, "origin", []string{"counting", "counting", "low"}, []string{e.Source, e.Monitor, string(e.Severity)})

	r.open("more")
	more := o.await("more")
	batches := o.sent()
	for _, b := range batches {
		if n := len(b.Events); b.Events[n-1].Seq >= more.Seq && b.Events[0].Seq <= 12 {
			t.Errorf("events %d and %d travel together: the first was acknowledged before", b.Events[0].Seq, more.Seq)
		}
	}
	epoch, before := batches[0].Stream.Epoch, len(batches)
	same(t, "exit code", 0, r.stop())
	r.start()
	o.until("the next life", func() bool { return len(o.batches) > before+1 })
	if b := o.sent()[before+1]; b.Stream.Epoch != epoch || b.Events[0].Seq <= 12 {
		t.Errorf("the stream goes on with %d of %s, want more than 12 of %s", b.Events[0].Seq, b.Stream.Epoch, epoch)
	}
}

// The pauses after failures are those of api.retry: with the machine's own defaults a dozen would
// take minutes.
func TestEventsComeSoonAfterFailures(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(n int, _ api.EventBatch) error {
		if n <= 12 {
			return api.Errorf(api.CodeUnavailable, "busy")
		}
		return nil
	}
	install(t, o, map[string]string{"counting": counting}, "").start()
	o.await("count.10")
}

// While nobody takes them events wait on disk, and a crash changes nothing.
func TestEventsSurviveACrash(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(int, api.EventBatch) error { return api.Errorf(api.CodeUnavailable, "busy") }
	r := install(t, o, map[string]string{"once": `
def look(n):
    if there("looked"):
        return None
    mark("looked", 1)
    return event("once")
serve(look)
`}, "").start()
	await(t, "the event on disk", func() bool { return r.spooled(`"once"`) })
	r.kill()
	o.change(func() { o.refuse = nil })
	r.start()
	o.await("once")
	same(t, "events", []string{"once"}, o.types())
}

// An event that is never taken is set aside as a gap, and those after it arrive.
func TestAPoisonEvent(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(_ int, b api.EventBatch) error {
		if slices.ContainsFunc(b.Events, func(e api.Event) bool { return e.Type == "count.b" }) {
			return api.Errorf(api.CodeMalformed, "no")
		}
		return nil
	}
	install(t, o, map[string]string{"counting": counting}, "").start()
	o.await("count.10")
	same(t, "the beginning", []string{"count.a", "count.c", "count.2"}, o.types()[:3])
	same(t, "gaps", []api.Gap{{From: 2, To: 2, Count: 1, Reason: "refused"}}, o.told())
}

// What a proxy takes only in parts travels in parts. An event that is alone too large for it is told of and
// kept, and arrives in its place when the proxy's limit has been raised.
func TestAProxyThatTakesLittle(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"counting": counting}, "")
	limit := 1 // events, under o.mu
	o.refuse = func(_ int, b api.EventBatch) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case !r.spooled("count.c"):
			return api.Errorf(api.CodeUnavailable, "busy")
		case len(b.Events) > limit, b.Events[0].Type == "count.c" && limit == 1:
			return errProxy
		}
		return nil
	}
	r.start()
	about := func(h api.Heartbeat) bool {
		return slices.ContainsFunc(h.Health.Conditions, func(c api.Condition) bool {
			return c.Name == conditionTooLarge && strings.Contains(c.Remedy, "client_max_body_size") && strings.Contains(c.Message, "event 3 ")
		})
	}
	o.until("a heartbeat that tells of it", func() bool { return slices.ContainsFunc(o.beats, about) })
	same(t, "what the proxy let pass", []string{"count.a", "count.b"}, o.types())
	o.change(func() { limit = 500 })
	o.await("count.10")
	same(t, "the beginning", []string{"count.a", "count.b", "count.c", "count.2"}, o.types()[:4])
	same(t, "gaps", 0, len(o.told()))
	o.until("a heartbeat without it", func() bool { return !about(o.lastBeat()) })
}

// What is damaged on disk is told as a gap.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(int, api.EventBatch) error { return api.Errorf(api.CodeUnavailable, "busy") }
	r := install(t, o, map[string]string{"counting": counting}, "").start()
	await(t, "the events on disk", func() bool { return r.spooled("count.10") })
	r.kill()
	segments, err := filepath.Glob(filepath.Join(r.base, "data", "spool", "log", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, segments[0], strings.Replace(string(text), "count.c", "count.x", 1))
	o.change(func() { o.refuse = nil })
	r.start()
	o.await("count.10")
	same(t, "gaps", []api.Gap{{From: 3, To: 3, Count: 1, Reason: "corrupt"}}, o.told())
	if got := o.types(); slices.Contains(got, "count.c") || slices.Contains(got, "count.x") {
		t.Errorf("the damaged event was sent: %v", got)
	}
}

// Every monitor goes its own way.
func TestMonitorsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{
		"counting": counting,
		"hanging":  "def look(n):\n    mark(\"hangs\", os.getpid())\n    time.sleep(60)\nserve(look)\n",
		"dying": `
mark("lives", 1)
def look(n):
    if not there("repaired"):
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    return event("alive")
serve(look)
`,
	}, "")
	write(t, filepath.Join(r.base, "config", "plugins", "hanging.yaml"), "{plugin: hanging, interval: 100ms, timeout: 1s}")
	write(t, filepath.Join(r.base, "config", "plugins", "missing.yaml"), "{plugin: nowhere}")
	r.start()
	r.file("hangs")
	o.await("count.10")
	dead := o.monitor("dying", func(m api.MonitorInfo) bool { return m.State == "backoff" })
	if !strings.Contains(dead.Message, "3") || !strings.Contains(dead.Message, "out of luck") {
		t.Errorf("the reason is %q", dead.Message)
	}
	o.monitor("hanging", func(m api.MonitorInfo) bool { return m.State == "backoff" && strings.Contains(m.Message, "in time") })
	o.monitor("missing", func(m api.MonitorInfo) bool {
		return m.State == "refused" && strings.Contains(m.Message, "not installed")
	})
	r.open("repaired")
	o.await("alive")
	o.monitor("dying", func(m api.MonitorInfo) bool { return m.State == "running" && m.Message == "" })
}

// One event that cannot be taken costs no other, and its monitor says why.
func TestAnEventThatIsTooLarge(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"large": `
def look(n):
    large = event("large", text="x" * 70000)
    return [event("good"), large, event("after")] if n == 1 else large
serve(look)
`}, "").start()
	o.await("good")
	o.await("after")
	m := o.monitor("large", func(m api.MonitorInfo) bool { return m.Message != "" })
	if !strings.Contains(m.Message, fmt.Sprint(api.MaxEventBytes)) || !strings.Contains(m.Message, "send less data") {
		t.Errorf("the sentence is %q", m.Message)
	}
}

// An answer that came just before the process ended counts, with all its events.
func TestEventsOfALastAnswer(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"last": `
def look(n):
    if there("looked"):
        return event("after")
    mark("looked", n)
    data = [event("last.%d" % i, text="x" * 1500) for i in range(500)]
    os.write(1, (json.dumps({"action": "detect_triggers", "success": True, "data": data}) + "\n").encode())
    os._exit(0)
serve(look)
`}, "").start()
	o.await("after")
	n := 0
	for _, kind := range o.types() {
		if strings.HasPrefix(kind, "last.") {
			n++
		}
	}
	same(t, "events of the answer", 500, n)
}

// A full spool holds the plugin up, says so, keeps room for what is critical, and
// nothing of what was detected is lost.
func TestAFullSpool(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(int, api.EventBatch) error { return api.Errorf(api.CodeUnavailable, "busy") }
	r := install(t, o, map[string]string{
		"flood": `
def look(n):
    mark("looked", n)
    return [event("flood.%d" % n, text="x" * 60000) for _ in range(10)] if n <= 8 else None
serve(look)
`,
		"urgent": `
def look(n):
    if there("alarm") and not there("told"):
        mark("told", n)
        return {"type": "urgent.now", "severity": "critical", "data": {"text": "x" * 60000}}
serve(look)
`}, "spool: {max_bytes: 4MiB}")
	r.env = []string{testAcceptLimit + "=200ms"}
	r.start()
	o.monitor("flood", func(m api.MonitorInfo) bool { return strings.Contains(m.Message, "the spool is full") })
	looked := r.file("looked")
	r.open("alarm")
	await(t, "the critical event on disk", func() bool { return r.spooled("urgent.now") })
	same(t, "looks while there was no room", looked, r.file("looked"))
	o.change(func() { o.refuse = nil })
	o.await("urgent.now")
	o.until("all that was detected", func() bool {
		n := 0
		for _, e := range o.taken {
			if strings.HasPrefix(e.Type, "flood.") {
				n++
			}
		}
		return n == 80
	})
}
