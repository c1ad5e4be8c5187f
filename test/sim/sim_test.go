package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/limits"
)

var (
	seed   = flag.Uint64("seed", 0, "live only this seed, and write its trace")
	seeds  = flag.Int("seeds", 2, "how many `lives`")
	from   = flag.Uint64("from", 1, "the first seed")
	worker = flag.Bool("worker", false, "live in this process, and write each outcome as JSON")
)

// One goroutine at a time is what makes a life the same whenever it is lived.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	m.Run()
}

// live runs one life under its own randomness.
func live(t *testing.T, origin *Origin, seed uint64, trace *bytes.Buffer) (out Outcome) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	dir := t.TempDir()
	defer os.RemoveAll(dir) // not at the end of all
	synctest.Test(t, func(t *testing.T) {
		o := Options{Seed: seed, Dir: dir, Origin: origin, Length: time.Hour}
		if trace != nil {
			o.Trace = trace
		}
		var err error
		if out, err = Live(o); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	})
	return out
}

func origin(t *testing.T) (o *Origin) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if o, err = NewOrigin(context.Background(), dir); err != nil {
			t.Fatal(err)
		}
	})
	return o
}

// judged fails the test where a promise was broken, and says how to see it again.
func judged(t *testing.T, seed uint64, out Outcome) {
	t.Helper()
	if len(out.Violations) > 0 {
		t.Errorf("seed %d: %s\nlive it again, with everything that happens in it: make sim SEED=%d", seed, out, seed)
	}
}

// TestSeeds lives each seed's life: no promise is broken in any.
func TestSeeds(t *testing.T) {
	switch {
	case *seed != 0:
		var trace bytes.Buffer
		out := live(t, origin(t), *seed, &trace)
		t.Logf("%s%s", trace.String(), out)
		judged(t, *seed, out)
	case *worker || *seeds <= 10:
		lives(t, *from, *seeds)
	default:
		workers(t)
	}
}

func lives(t *testing.T, from uint64, count int) {
	t.Helper()
	o := origin(t)
	for n := range uint64(count) {
		t.Run(strconv.FormatUint(from+n, 10), func(t *testing.T) {
			out := live(t, o, from+n, nil)
			judged(t, from+n, out)
			if text, err := json.Marshal(out); *worker && err == nil {
				fmt.Printf("\nlife %s\n", text)
			}
		})
	}
}

// workers shares the lives among as many processes as there are processors.
func workers(t *testing.T) {
	var mu sync.Mutex // guards the next two
	var all Outcome
	lived := 0
	var running sync.WaitGroup
	n := runtime.NumCPU()
	begin := time.Now()
	for k := range n {
		first, last := k**seeds/n, (k+1)**seeds/n
		running.Go(func() {
			outcomes, rest, err := process(t, *from+uint64(first), last-first)
			mu.Lock()
			defer mu.Unlock()
			for _, o := range outcomes {
				all.add(o)
			}
			lived += len(outcomes)
			if err != nil || len(outcomes) < last-first {
				t.Errorf("%v\n%s", err, rest)
			}
		})
	}
	running.Wait()
	t.Logf("%d lives, %s, taking %v", lived, all, time.Since(begin).Round(time.Second))
}

// process lives some lives in a process of its own, with its files in memory where there is a place for that.
func process(t *testing.T, from uint64, count int) (outcomes []Outcome, rest string, err error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeeds$", "-test.timeout=0", "-worker",
		"-seeds="+strconv.Itoa(count), "-from="+strconv.FormatUint(from, 10))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if shm, statErr := os.Stat("/dev/shm"); statErr == nil && shm.IsDir() {
		dir, mkErr := os.MkdirTemp("/dev/shm", "stavily-sim-")
		if mkErr != nil {
			return nil, "", mkErr
		}
		defer os.RemoveAll(dir)
		cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	}
	output, err := cmd.CombinedOutput()
	lines := bufio.NewScanner(bytes.NewReader(output))
	var others []string
	for lines.Scan() {
		var o Outcome
		if text, is := strings.CutPrefix(lines.Text(), "life "); is && json.Unmarshal([]byte(text), &o) == nil {
			outcomes = append(outcomes, o)
		} else if lines.Text() != "" {
			others = append(others, lines.Text())
		}
	}
	return outcomes, strings.Join(others, "\n"), err
}

// TestOnceBroken lives the lives in which promises were once broken.
func TestOnceBroken(t *testing.T) {
	text, err := limits.ReadFile(filepath.Join("testdata", "seeds"), 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, why, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil || why == "" {
			t.Errorf("testdata/seeds: %q: must be a seed and what was broken in its life", line)
			continue
		}
		t.Run(name, func(t *testing.T) { lives(t, n, 1) })
	}
}

// TestTheSameSeedIsTheSameLife holds that a life can be repeated: everything that happens in it
// happens at the same time, whatever the machine is doing. In one moment there is no order.
func TestTheSameSeedIsTheSameLife(t *testing.T) {
	o := origin(t)
	for n := range uint64(max(1, min(*seeds/5, 20))) {
		var traces [2][]string
		for k := range traces {
			t.Run("", func(t *testing.T) {
				var trace bytes.Buffer
				live(t, o, *from+n, &trace)
				traces[k] = strings.Split(trace.String(), "\n")
				slices.Sort(traces[k])
			})
		}
		if diff := cmp.Diff(traces[0], traces[1]); diff != "" {
			t.Errorf("two lives of seed %d differ:\n%.3000s", *from+n, diff)
		}
	}
}
