package handshake

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/telemetry"
)

const (
	// leastPause is between two records of a kind, and mostPause where it is nothing new.
	leastPause = time.Minute
	mostPause  = time.Hour

	// mostPlaces is how many networks are told apart in a record.
	mostPlaces = 16

	// lastWords bounds the writing at the end.
	lastWords = 2 * time.Second
)

// Options of a Watch.
type Options struct {
	Metrics *telemetry.Registry
	Logger  *slog.Logger
	Record  func(ctx context.Context, listener, detail string) error // writes an audit record
	Now     func() time.Time                                         // nil: time.Now
}

// Watch keeps account of strangers that were refused. Make it with [NewWatch].
type Watch struct {
	Options
	count *telemetry.CounterVec
	wake  chan struct{} // has a signal when there is something new

	mu sync.Mutex // guards of
	of map[kind]*tally
}

type kind struct{ listener, reason string }

// tally is what was not recorded of a kind, and when it was recorded last.
type tally struct {
	times  int
	since  time.Time
	places map[netip.Prefix]int
	others int // that came from elsewhere than places

	known   map[netip.Prefix]int // the places of the last record
	written time.Time
	pause   time.Duration
}

// NewWatch makes one. [Watch.Run] has to run for records to be written.
func NewWatch(o Options) *Watch {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Watch{
		Options: o, wake: make(chan struct{}, 1), of: map[kind]*tally{},
		count: o.Metrics.CounterVec("strangers_refused_total", "Connections and requests that were refused before it was known whose they are, by listener and reason: why the handshake failed, or the code of the error.", "listener", "reason"),
	}
}

// Refused counts one that came from an address, with or without its port.
func (w *Watch) Refused(listener, reason, from string) {
	w.count.WithLabelValues(listener, reason).Inc()
	if reason == Gone {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.of[kind{listener, reason}]
	if t == nil {
		t = &tally{}
		w.of[kind{listener, reason}] = t
	}
	if t.add(place(from), w.Now()) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// add counts one, and reports whether a record may be due sooner by it.
func (t *tally) add(from netip.Prefix, now time.Time) bool {
	first := t.times == 0
	if first {
		t.since, t.places = now, map[netip.Prefix]int{}
	}
	t.times++
	if t.places[from] == 0 && len(t.places) >= mostPlaces {
		t.others++
		return false
	}
	t.places[from]++
	return first || t.places[from] == 1
}

// place is the network of an address: what one customer of a provider has, as a rule.
func place(from string) netip.Prefix {
	var addr netip.Addr
	if both, err := netip.ParseAddrPort(from); err == nil {
		addr = both.Addr()
	} else if addr, err = netip.ParseAddr(from); err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, _ := addr.Prefix(bits) // of a valid address
	return p
}

// new reports whether somebody came that the last record does not have.
func (t *tally) new() bool {
	for p := range t.places {
		if t.known[p] == 0 {
			return true
		}
	}
	return false
}

// due is when the record is to be written.
func (t *tally) due() time.Time {
	if t.new() {
		return t.written.Add(min(t.pause, leastPause))
	}
	return t.written.Add(t.pause)
}

// take gives what was counted and forgets it, and says how long to wait for the next record: not
// long when there was somebody new, or nobody for a time.
func (t *tally) take(now time.Time) tally {
	was := *t
	pause := min(2*t.pause, mostPause)
	if quiet := t.since.Sub(t.written) > 2*t.pause; quiet || t.new() {
		pause = leastPause
	}
	*t = tally{known: t.places, written: now, pause: pause}
	return was
}

// giveBack adds what could not be recorded.
func (t *tally) giveBack(was tally) {
	if t.times == 0 {
		t.places = map[netip.Prefix]int{}
	}
	t.times, t.others, t.since = t.times+was.times, t.others+was.others, was.since
	for p, n := range was.places {
		if t.places[p] == 0 && len(t.places) >= mostPlaces {
			t.others += n
			continue
		}
		t.places[p] += n
	}
}

func (t *tally) detail(reason string) string {
	places := slices.SortedFunc(maps.Keys(t.places), func(a, b netip.Prefix) int {
		return cmp.Or(t.places[b]-t.places[a], a.Addr().Compare(b.Addr()))
	})
	var from []string
	for _, p := range places {
		name := "an unknown place"
		if p.IsValid() {
			name = p.String()
		}
		from = append(from, fmt.Sprintf("%s (%d)", name, t.places[p]))
	}
	if t.others > 0 {
		from = append(from, fmt.Sprintf("elsewhere (%d)", t.others))
	}
	return fmt.Sprintf("%s: %d since %s, from %s", reason, t.times, t.since.UTC().Format(time.RFC3339), strings.Join(from, ", "))
}

// Run writes records until ctx is done, and then what is left.
func (w *Watch) Run(ctx context.Context) error {
	for {
		next := w.write(ctx, false)
		timer := time.NewTimer(next)
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			w.write(last, true)
			return nil
		}
		timer.Stop()
	}
}

// write writes what is due, or all there is, and returns how long nothing is.
func (w *Watch) write(ctx context.Context, all bool) time.Duration {
	due, next := w.due(all)
	for k, was := range due {
		err := w.Record(ctx, k.listener, was.detail(k.reason))
		if err == nil {
			continue
		}
		w.Logger.WarnContext(ctx, "strangers that were refused are not on record", "listener", k.listener, "reason", k.reason, "error", err)
		next = min(next, leastPause)
		w.mu.Lock()
		w.of[k].giveBack(was)
		w.mu.Unlock()
	}
	return next
}

// due takes what is due, or all there is, and says how long nothing else is.
func (w *Watch) due(all bool) (due map[kind]tally, next time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due, next = map[kind]tally{}, mostPause
	for k, t := range w.of {
		now := w.Now()
		wait := t.due().Sub(now)
		switch {
		case t.times == 0:
		case all, wait <= 0, wait > mostPause: // or the clock was set
			due[k] = t.take(now)
		default:
			next = min(next, wait)
		}
	}
	return due, next
}
