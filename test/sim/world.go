package sim

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/simulated"
	"github.com/stavily/agents/shared/pkg/api"
)

// Options of a life.
type Options struct {
	Seed   uint64
	Dir    string        // an empty directory
	Origin *Origin       // that servers and agents begin with
	Length time.Duration // of the time with faults
	Trace  io.Writer     // gets a line for everything that happens; nil: nobody
}

// lease is shorter than the real one, so that many run out.
const lease = 20 * time.Second

// world is a server, its agents and the network between them. Only one of its goroutines runs
// at a time, and what each draws follows from the seed and what it does.
type world struct {
	Options
	driver  *rand.Rand // of the goroutine that does harm
	begin   time.Time
	calm    atomic.Bool // no more harm
	enough  context.Context
	rates   rates
	log     *slog.Logger
	history history // guards itself

	tracing sync.Mutex // guards Trace

	mu     sync.Mutex // guards the fields below
	server *serverLife
	clock  clock // of the server's host
	copies int
	nodes  []*node
	events int               // that were reported
	labels map[string]string // what ids are called in the trace
	failed []error           // of what must not fail
	living sync.WaitGroup
}

// Origin is what every life begins with: made once, since keys take long.
type Origin struct {
	Dir   string
	certs map[api.AgentID]*x509.Certificate
}

// The agents.
var (
	sensors = []api.AgentID{"s1", "s2"}
	actors  = []api.AgentID{"a1", "a2"}
)

// NewOrigin makes the directory of a server that knows the agents and workflows.
func NewOrigin(ctx context.Context, dir string) (*Origin, error) {
	s, err := simulated.Open(ctx, simulated.Options{Dir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	o := &Origin{dir, map[api.AgentID]*x509.Certificate{}}
	for typ, ids := range map[api.AgentType][]api.AgentID{api.Sensor: sensors, api.Action: actors} {
		for _, id := range ids {
			if o.certs[id], err = s.Enrol(ctx, typ, id); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	for _, text := range workflows {
		err = errors.Join(err, s.Apply(ctx, text))
	}
	return o, errors.Join(err, s.Close())
}

// clock is one on the wall: it can be set.
type clock struct {
	offset atomic.Int64
	at     atomic.Int64 // when it was set forward last, in nanoseconds
}

func (c *clock) set(by time.Duration) {
	if c.offset.Swap(int64(by)) < int64(by) {
		c.at.Store(time.Now().UnixNano())
	}
}

// forwardWithin reports whether it was set forward that lately.
func (c *clock) forwardWithin(d time.Duration) bool {
	return time.Now().UnixNano()-c.at.Load() < int64(d)
}

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())).Round(0) }

// draw gives random numbers for one thing, the same whatever happens beside it.
func (w *world) draw(what ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, what...)
	return rand.New(rand.NewPCG(w.Seed, h.Sum64()))
}

// note writes a line of the trace.
func (w *world) note(format string, args ...any) {
	if w.Trace != nil {
		w.tracing.Lock()
		defer w.tracing.Unlock()
		fmt.Fprintf(w.Trace, "%12.6f "+format+"\n", append([]any{time.Since(w.begin).Seconds()}, args...)...)
	}
}

// call gives an id the name that it has in the trace, and for draws: ids are random.
func (w *world) call(id, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.labels[id] = name
}

// label is what an id is called.
func (w *world) label(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name := w.labels[id]; name != "" {
		return name
	}
	return "?"
}

// fail keeps what ends the life: not a promise that was broken, but a world that was.
func (w *world) fail(what string, err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, fmt.Errorf("%s: %w", what, err))
}

// copyDir is what a process that dies leaves: its files, as they are at this moment.
func (w *world) copyDir(from string) string {
	w.mu.Lock()
	w.copies++
	to := filepath.Join(w.Dir, fmt.Sprint(w.copies))
	w.mu.Unlock()
	w.fail("copy "+from, copyTree(from, to))
	return to
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular() || filepath.Ext(path) == ".db-shm":
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// sleep waits in simulated time; false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// span is a random duration.
func span(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }
