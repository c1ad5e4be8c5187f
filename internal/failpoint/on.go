//go:build failpoints

package failpoint

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// asleep is how long a point sleeps.
const asleep = time.Second

// dir is this process's directory; empty when nobody wants the points.
var dir = sync.OnceValue(func() string {
	base := os.Getenv("FAILPOINTS")
	if base == "" {
		return ""
	}
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		program += "-" + os.Args[1]
	}
	made := filepath.Join(base, program)
	if os.MkdirAll(made, 0o700) != nil {
		return "" // a launcher of plugins sees none of it
	}
	return made
})

var seen sync.Map // names that have their file

// Hit marks a point. Its error is the one that is injected.
func Hit(name string) error { return reach(name) }

// At marks a point that serves many, and what it is reached for.
func At(name, what string) error { return reach(name + ":" + strings.ReplaceAll(what, "/", "_")) }

// File marks a point that serves many files.
func File(name, path string) error { return reach(name + ":" + filepath.Base(path)) }

// Caller marks a point that is told apart by who called the function that has it.
func Caller(name string) error {
	pcs := make([]uintptr, 1)
	runtime.Callers(3, pcs) // Callers, Caller, the function that has the point
	frame, _ := runtime.CallersFrames(pcs).Next()
	_, function, _ := strings.Cut(filepath.Base(frame.Function), ".")
	function, _, _ = strings.Cut(function, ".func")
	return reach(name + ":" + strings.TrimPrefix(strings.NewReplacer("(*", "", ")", "").Replace(function), "Engine."))
}

func reach(name string) error {
	if dir() == "" {
		return nil
	}
	path := filepath.Join(dir(), name)
	if _, known := seen.LoadOrStore(name, true); !known {
		if err := os.WriteFile(path+".seen", nil, 0o600); err != nil {
			return nil
		}
	}
	order, err := limits.ReadFile(path+".armed", 64)
	if err != nil {
		return nil // not armed
	}
	var action string
	var rate float64
	var seed uint64
	if n, _ := fmt.Sscan(string(order), &action, &rate, &seed); n == 3 {
		if !drawn(name, path, rate, seed) {
			return nil
		}
	} else if os.Rename(path+".armed", path+".hit") != nil {
		return nil // another goroutine has it
	}
	return act(name, action)
}

var (
	mu   sync.Mutex // guards dice
	dice = map[string]*rand.Rand{}
)

// drawn reports whether a point that is armed with a rate acts this time, and adds a byte to its
// proof when it does. The draws of a process follow from the seed, the name and how often the
// point acted before it began, so that a process which one of them ended goes on with others.
func drawn(name, path string, rate float64, seed uint64) bool {
	mu.Lock()
	defer mu.Unlock()
	if dice[name] == nil {
		var acted int64
		if info, err := os.Stat(path + ".hit"); err == nil {
			acted = info.Size()
		}
		sum := fnv.New64a()
		fmt.Fprintf(sum, "%s %d", name, acted)
		dice[name] = rand.New(rand.NewPCG(seed, sum.Sum64()))
	}
	if dice[name].Float64() >= rate {
		return false
	}
	proof, err := os.OpenFile(path+".hit", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false
	}
	defer proof.Close()
	_, err = proof.WriteString(".")
	return err == nil
}

func act(name, action string) error {
	switch action {
	case "panic":
		panic("failpoint " + name)
	case "kill":
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {} // the signal is on its way
	case "sleep":
		time.Sleep(asleep)
	case "error":
		return fmt.Errorf("failpoint %s: injected", name)
	}
	return nil
}
