package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// A keeper ends the process groups of plugins when their agent dies, because the
// system has no signal for that. It is this program under another name, started with
// the first plugin, and hears of each over a pipe: "+PID" when it starts, "-PID" when
// nothing of it is left. The end of the pipe is the end of the agent.
type keeper struct {
	keeperProcess
	live map[int]bool
}

var keeping = keeper{live: map[int]bool{}}

// Keep does nothing at the start of an agent: the keeper of an earlier one has ended
// what that had left, and what it could not find nobody finds.
func Keep(string) (int, error) { return 0, nil }

// remember has the keeper end a process group when the agent dies.
func remember(pid int) error {
	keeping.Lock()
	defer keeping.Unlock()
	keeping.live[pid] = true
	if keeping.lives() {
		return keeping.say('+', pid)
	}
	path, err := executablePath()
	if err == nil {
		err = keeping.start(path)
	}
	if err != nil {
		delete(keeping.live, pid)
		return err
	}
	for pid := range keeping.live {
		if err := keeping.say('+', pid); err != nil {
			return err
		}
	}
	return nil
}

// forget is remember's opposite.
func forget(pid int) {
	keeping.Lock()
	defer keeping.Unlock()
	delete(keeping.live, pid)
	if keeping.lives() {
		_ = keeping.say('-', pid) // a keeper that does not hear it is dead
	}
}

func (k *keeper) say(what byte, pid int) error {
	if _, err := fmt.Fprintf(k.feed, "%c%d\n", what, pid); err != nil {
		return fmt.Errorf("tell the keeper of plugins: %w", err)
	}
	return nil
}

// maxKeeperLine bounds what an agent says at once: a sign and a number.
const maxKeeperLine = 32

// keeperMain listens until the agent has died, and then ends its plugins.
func keeperMain() {
	live := map[int]unix.Timeval{}
	in := limits.NewLineReader(os.Stdin, maxKeeperLine)
	for {
		line, _, err := in.Next()
		if err != nil {
			break
		}
		pid, err := strconv.Atoi(string(line[min(1, len(line)):]))
		switch {
		case err != nil || pid <= 1: // not said by an agent
		case line[0] == '+':
			live[pid] = startOf(pid)
		default:
			delete(live, pid)
		}
	}
	ended := make(chan struct{})
	close(ended) // none of them is ours to wait for
	for pid, start := range live {
		t := tree{pid: pid, start: start}
		_ = t.kill(ended) // there is nobody left to tell
	}
	os.Exit(0)
}
