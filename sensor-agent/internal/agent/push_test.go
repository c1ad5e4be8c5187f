//go:build linux || darwin

package agent

import (
	"os"
	"path/filepath"
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
