package handshake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/telemetry"
)

// book is a Watch in a bubble of simulated time, and what it has written.
type book struct {
	*Watch
	rows []string
	full atomic.Bool // the disk: nothing can be written
	end  func()
}

func inBubble(t *testing.T, f func(b *book)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		b.Watch = NewWatch(Options{Metrics: telemetry.NewRegistry("test"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Record: func(_ context.Context, listener, detail string) error {
			if b.full.Load() {
				return errors.New("the disk is full")
			}
			b.rows = append(b.rows, listener+" "+detail)
			return nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		b.end = func() { stop(); <-done; done <- nil }
		f(b)
		b.end()
	})
}

// passes lets time go by, and what is due then be written.
func (b *book) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// flood has strangers knock each 10 ms for a time, from as many networks.
func (b *book) flood(lasting time.Duration, networks int) (times int) {
	for end := time.Now().Add(lasting); time.Now().Before(end); b.passes(10 * time.Millisecond) {
		b.Refused("agents", UnknownCA, fmt.Sprintf("10.0.%d.7:4711", times%networks))
		times++
	}
	return times
}

// The first of a kind is on record at once, a flood once a minute, whatever networks it comes from,
// and with the number of all.
func TestAFloodIsOneRecordAMinute(t *testing.T) {
	inBubble(t, func(b *book) {
		b.Refused("agents", UnknownCA, "[2001:db8:1:2::3]:4711")
		synctest.Wait()
		if want := "agents unknown_ca: 1 since "; len(b.rows) != 1 || !strings.HasPrefix(b.rows[0], want) || !strings.HasSuffix(b.rows[0], "from 2001:db8:1::/48 (1)") {
			t.Fatalf("on record is %q, want %q from its network", b.rows, want)
		}
		times := b.flood(10*time.Minute, 200) + 1
		b.end()
		if n := len(b.rows); n < 4 || n > 12 {
			t.Errorf("%d records of ten minutes, want one a minute at most", n)
		}
		total := 0
		for _, row := range b.rows {
			var n int
			if _, err := fmt.Sscanf(row, "agents unknown_ca: %d since", &n); err != nil {
				t.Errorf("%q: %v", row, err)
			}
			total += n
			if len(row) > 1000 {
				t.Errorf("a record of %d bytes", len(row))
			}
		}
		if total != times {
			t.Errorf("%d are on record, and there were %d", total, times)
		}
	})
}

// Who knocks for ever is on record less and less, and somebody new is not kept back by it.
func TestWhoKnocksForEver(t *testing.T) {
	inBubble(t, func(b *book) {
		b.flood(15*time.Minute, 1)
		first := len(b.rows)
		if first < 3 || first > 6 {
			t.Errorf("%d records of a quarter of an hour, want pauses that double: %q", first, b.rows)
		}
		b.Refused("agents", UnknownCA, "192.0.2.1:1")
		b.passes(leastPause)
		if last := b.rows[len(b.rows)-1]; len(b.rows) != first+1 || !strings.Contains(last, "192.0.2.0/24 (1)") {
			t.Errorf("a minute after somebody new the last record is %q", last)
		}
		before := len(b.rows)
		b.Refused("web", NoTLS, "192.0.2.1:1")
		b.Refused("agents", Gone, "192.0.2.1:1")
		synctest.Wait()
		if rows := b.rows[before:]; len(rows) != 1 || !strings.HasPrefix(rows[0], "web no_tls") {
			t.Errorf("on record is %q, want the other kind at once, and no one who only went away", rows)
		}
	})
}

// What cannot be written is written later, all of it.
func TestRecordsThatFail(t *testing.T) {
	inBubble(t, func(b *book) {
		b.full.Store(true)
		for range 3 {
			b.Refused("agents", Expired, "192.0.2.1:1")
			b.passes(time.Minute)
		}
		if len(b.rows) != 0 {
			t.Fatalf("on record is %q", b.rows)
		}
		b.full.Store(false)
		b.passes(2 * time.Hour)
		if len(b.rows) != 1 || !strings.HasPrefix(b.rows[0], "agents expired: 3 since ") {
			t.Errorf("on record is %q, want all three", b.rows)
		}
		b.Refused("agents", Expired, "192.0.2.1:1")
		b.Refused("agents", Expired, "nowhere")
		b.end()
		if last := b.rows[len(b.rows)-1]; !strings.Contains(last, "192.0.2.0/24 (1)") || !strings.Contains(last, "an unknown place (1)") {
			t.Errorf("at the end the last record is %q", last)
		}
	})
}
