//go:build linux || darwin

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// listening waits at a named pipe, by the SDK, and counts what comes through it.
const listening = `
import stavily
fifo = os.path.join(work, "fifo")
@stavily.sensor(push=True)
def listen(emit, state):
    mark("waits", "yes")
    try:
        while True:
            with open(fifo) as lines:
                for line in lines:
                    state["n"] = state.get("n", 0) + 1
                    state.save()
                    emit(line.strip(), data={"n": state["n"]})
    finally:
        mark("cleaned", "up")
if __name__ == "__main__":
    stavily.run()
`

// began reports at its start how often it has begun.
const began = `
import stavily, time
@stavily.sensor(push=True)
def begin(emit, state):
    state["n"] = state.get("n", 0) + 1
    state.save()
    emit("began.first", data={"n": state["n"]})
    mark("began", "yes")
    while True:
        time.sleep(60)
if __name__ == "__main__":
    stavily.run()
`

// A new version of a sensor that reports at its start is tried before it takes over: what
// it reports and keeps meanwhile counts for nothing, and is no reason to refuse it.
func TestATrialOfASensorThatWaits(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"beginning": began}, "")
	r.start()
	r.file("began")
	same(t, "the first", `1`, string(o.await("began.first").Data["n"]))
	main := filepath.Join(r.base, "data", "plugins", "beginning", "main.py")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	write(t, main, strings.Replace(string(text), "began.first", "began.next", 1))
	same(t, "the next", `2`, string(o.await("began.next").Data["n"]))
	same(t, "events", []string{"began.first", "began.next"}, o.types())
}

// A sensor that waits reports the moment that something happens, remembers over a crash
// of its agent, and is told when the agent ends.
func TestASensorThatWaits(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"listening": listening}, "")
	fifo := filepath.Join(r.work, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	say := func(word string) {
		t.Helper()
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for a reader
		if err == nil {
			_, err = w.WriteString(word + "\n")
			w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.file("waits")
	say("first")
	say("second")
	same(t, "the second", `2`, string(o.await("second").Data["n"]))
	r.kill()
	if err := os.Remove(filepath.Join(r.work, "waits")); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.file("waits")
	say("third")
	same(t, "the third", `3`, string(o.await("third").Data["n"]))
	same(t, "exit code", 0, r.stop())
	same(t, "at its end", "up", r.file("cleaned"))
}
