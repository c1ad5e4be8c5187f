package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

func open(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reopen(t testing.TB, s *Spool) *Spool {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, s.dir, Options{MaxBytes: s.maxBytes, SegmentBytes: s.segmentBytes, Now: s.now})
}

func appendTo(t testing.TB, s *Spool, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if _, err := s.Append(t.Context(), []byte(p), false); err != nil {
			t.Fatal(err)
		}
	}
}

func ack(t testing.TB, s *Spool, through uint64) {
	t.Helper()
	if err := s.Ack(through); err != nil {
		t.Fatal(err)
	}
}

// content is a batch in a form that differences show well.
type content struct {
	Records map[uint64]string
	Gaps    []api.Gap
	Through uint64
}

func batch(t testing.TB, s *Spool, maxItems, maxBytes int) content {
	t.Helper()
	b, err := s.Batch(maxItems, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	out := content{Gaps: b.Gaps, Through: b.Through}
	for _, r := range b.Records {
		if out.Records == nil {
			out.Records = map[uint64]string{}
		}
		out.Records[r.Seq] = string(r.Payload)
	}
	return out
}

func expect(t testing.TB, what string, got, want content) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: batch (-want +got):\n%s", what, diff)
	}
}

func stats(t testing.TB, s *Spool) Stats {
	t.Helper()
	out, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEventsWaitUntilAcknowledged(t *testing.T) {
	at := time.UnixMilli(1_750_000_000_000)
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return at }})
	epoch := s.Epoch()
	if len(epoch) != 32 {
		t.Errorf("epoch %q, want 32 hex digits", epoch)
	}
	appendTo(t, s, "a", "bb")
	at = at.Add(time.Minute)
	appendTo(t, s, "ccc")
	expect(t, "all", batch(t, s, 10, 100), content{Records: map[uint64]string{1: "a", 2: "bb", 3: "ccc"}, Through: 3})
	expect(t, "two items", batch(t, s, 2, 100), content{Records: map[uint64]string{1: "a", 2: "bb"}, Through: 2})
	expect(t, "three bytes", batch(t, s, 10, 3), content{Records: map[uint64]string{1: "a", 2: "bb"}, Through: 2})
	expect(t, "one, though too large", batch(t, s, 10, 0), content{Records: map[uint64]string{1: "a"}, Through: 1})

	if got := stats(t, s); got.Depth != 3 || !got.Oldest.Equal(at.Add(-time.Minute)) {
		t.Errorf("depth %d, oldest %v; want 3 and a minute ago", got.Depth, got.Oldest)
	}
	ack(t, s, 2)
	ack(t, s, 1) // an old answer, come late
	s = reopen(t, s)
	if s.Epoch() != epoch {
		t.Errorf("epoch %s after reopening, was %s", s.Epoch(), epoch)
	}
	expect(t, "after reopening", batch(t, s, 10, 100), content{Records: map[uint64]string{3: "ccc"}, Through: 3})
	if got := stats(t, s); got.Depth != 1 || !got.Oldest.Equal(at) {
		t.Errorf("depth %d, oldest %v; want 1 and now", got.Depth, got.Oldest)
	}
	ack(t, s, 3)
	expect(t, "empty", batch(t, s, 10, 100), content{})
	if got := stats(t, s); got.Depth != 0 || !got.Oldest.IsZero() {
		t.Errorf("empty spool: %+v", got)
	}
	if err := s.Ack(4); err == nil {
		t.Error("a number that was never given out was acknowledged")
	}
}

func TestPulse(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	pulses := func() (n int) {
		for {
			select {
			case <-s.Appended():
				n++
			default:
				return n
			}
		}
	}
	if n := pulses(); n != 0 {
		t.Errorf("%d pulses of a new spool, want none", n)
	}
	appendTo(t, s, "a", "b")
	if n := pulses(); n != 1 {
		t.Errorf("%d pulses after two events, want 1", n)
	}
	s = reopen(t, s)
	if n := pulses(); n != 1 {
		t.Errorf("%d pulses after reopening with events, want 1", n)
	}
}

// fill appends until the spool refuses at once.
func fill(t *testing.T, s *Spool, critical bool) (n int) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	for {
		_, err := s.Append(ctx, []byte(strings.Repeat("x", 100)), critical)
		if errors.Is(err, ErrFull) {
			if !strings.Contains(err.Error(), "no time") {
				t.Errorf("error %q does not say why it did not wait", err)
			}
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestFullSpoolKeepsAReserve(t *testing.T) {
	const limit = 20_000
	s := open(t, t.TempDir(), Options{MaxBytes: limit})
	normal, critical := fill(t, s, false), fill(t, s, true)
	if got := stats(t, s); got.Bytes > limit || got.Bytes < limit-200 {
		t.Errorf("%d bytes, want just below %d", got.Bytes, limit)
	}
	if share := float64(critical) / float64(normal+critical); share < 0.09 || share > 0.11 {
		t.Errorf("%d normal and %d critical events: the reserve is %.2f, want 0.1", normal, critical, share)
	}
	if _, err := s.Append(t.Context(), make([]byte, limit), true); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("an event that can never fit: %v, want ErrTooLarge", err)
	}
	ack(t, s, uint64(normal+critical))
	if got := stats(t, s); got.Bytes > 2*limit/segmentShare {
		t.Errorf("%d bytes after everything was settled, want at most the last segment", got.Bytes)
	}
	if n := fill(t, s, false); n < normal*9/10 {
		t.Errorf("%d events after the spool was emptied, want about %d", n, normal)
	}
}

// Opening reads a segment at once, so that a large spool must have more of them, not longer ones.
func TestALargeSpoolNeedsNoMoreMemory(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBytes: 1 << 30})
	for range 40 {
		if _, err := s.Append(t.Context(), make([]byte, 1<<20), false); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s)
	entries, err := os.ReadDir(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > 6<<20 {
			t.Errorf("segment %s has %d bytes: %v", e.Name(), info.Size(), err)
		}
	}
}

func TestAppendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Options{MaxBytes: 5000})
		n := fill(t, s, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := s.Append(ctx, []byte(strings.Repeat("x", 200)), false); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append = %v, want ErrFull after the deadline", err)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v, want the whole minute", waited)
		}
		var wg sync.WaitGroup
		wg.Go(func() { appendTo(t, s, strings.Repeat("x", 200)) })
		synctest.Wait()
		ack(t, s, uint64(n))
		wg.Wait()
		if got := stats(t, s); got.Depth != 1 {
			t.Errorf("depth %d, want the one that waited", got.Depth)
		}
	})
}

// Settled events must not fill the cap from inside the segment that is written.
func TestOneLargeSegmentDoesNotBlockForEver(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBytes: 8000, SegmentBytes: 8000})
	for range 5 {
		n := fill(t, s, true)
		if n == 0 {
			t.Fatal("no room although everything is settled")
		}
		ack(t, s, stats(t, s).Last)
	}
}

func damage(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageBecomesAGap(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b", "c", "d", "e")
	s.Close()
	for _, seq := range []int{2, 3, 5} { // each takes 8 + 25·(seq-1) … of the file
		damage(t, filepath.Join(s.dir, "log", fmt.Sprintf("%020d.wal", 1)), 8+25*seq-1)
	}
	s = reopen(t, s)
	want := content{
		Records: map[uint64]string{1: "a", 4: "d"},
		Gaps:    []api.Gap{{From: 2, To: 3, Count: 2, Reason: ReasonCorrupt}, {From: 5, To: 5, Count: 1, Reason: ReasonCorrupt}},
		Through: 5,
	}
	expect(t, "all", batch(t, s, 10, 100), want)
	expect(t, "again", batch(t, s, 10, 100), want)
	expect(t, "two items", batch(t, s, 2, 100), content{Records: map[uint64]string{1: "a"}, Gaps: want.Gaps[:1], Through: 3})
	if diff := cmp.Diff(map[string]uint64{ReasonCorrupt: 3}, stats(t, s).Dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
	if len(s.Recovery().Lost) != 2 {
		t.Errorf("recovery %+v, want both ranges", s.Recovery())
	}
	ack(t, s, 5)
	expect(t, "settled", batch(t, s, 10, 100), content{})
}

func TestSetAside(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "poison", "c")
	for range 2 {
		if err := s.SetAside(2, ReasonRefused); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "set aside", batch(t, s, 10, 100), content{
		Records: map[uint64]string{1: "a", 3: "c"},
		Gaps:    []api.Gap{{From: 2, To: 2, Count: 1, Reason: ReasonRefused}},
		Through: 3,
	})
	if diff := cmp.Diff(map[string]uint64{ReasonRefused: 1}, stats(t, s).Dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
	kept, err := os.ReadFile(filepath.Join(s.dir, "refused", fmt.Sprintf("%020d.json", 2)))
	if err != nil || string(kept) != "poison" {
		t.Errorf("kept %q, %v; want the event", kept, err)
	}
	ack(t, s, 3)
	for _, seq := range []uint64{1, 4} {
		if err := s.SetAside(seq, ReasonRefused); err == nil {
			t.Errorf("event %d was set aside, which does not wait", seq)
		}
	}
	for range keptRefused + 5 {
		appendTo(t, s, "more")
		if err := s.SetAside(stats(t, s).Last, ReasonRefused); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "refused"))
	if err != nil || len(entries) != keptRefused {
		t.Errorf("%d refused events kept, %v; want %d", len(entries), err, keptRefused)
	}
}

// The machine was restored from a snapshot: what waits is sent under a new epoch,
// and nothing that was settled is called lost.
func TestRenew(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	epoch := s.Epoch()
	appendTo(t, s, "a", "b", "c")
	ack(t, s, 2)
	if err := s.Renew(); err != nil {
		t.Fatal(err)
	}
	want := content{
		Records: map[uint64]string{3: "c"},
		Gaps:    []api.Gap{{From: 1, To: 2, Count: 0, Reason: ReasonRenewed}},
		Through: 3,
	}
	expect(t, "renewed", batch(t, s, 10, 100), want)
	s = reopen(t, s)
	expect(t, "reopened", batch(t, s, 10, 100), want)
	if s.Epoch() == epoch {
		t.Error("the epoch is still the same")
	}
	if got := stats(t, s); got.Depth != 1 {
		t.Errorf("depth %d, want 1", got.Depth)
	}
	ack(t, s, 2)
	expect(t, "gap settled", batch(t, s, 10, 100), content{Records: map[uint64]string{3: "c"}, Through: 3})
}

// What is cut off the end after a crash may have been sent, and its number is given
// out again: only under a new epoch is that harmless.
func TestTornEndRenewsTheEpoch(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b", "c")
	ack(t, s, 1)
	epoch := s.Epoch()
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(crashed, "log", fmt.Sprintf("%020d.wal", 1))
	info, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segment, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	s = open(t, crashed, Options{})
	if s.Epoch() == epoch {
		t.Error("number 3 is given out a second time under the same epoch")
	}
	appendTo(t, s, "d")
	expect(t, "after the crash", batch(t, s, 10, 100), content{
		Records: map[uint64]string{2: "b", 3: "d"},
		Gaps:    []api.Gap{{From: 1, To: 1, Count: 0, Reason: ReasonRenewed}},
		Through: 3,
	})
}

// Numbers go on where they were although the whole log is gone.
func TestLostLog(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b")
	ack(t, s, 2)
	s.Close()
	if err := os.RemoveAll(filepath.Join(s.dir, "log")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	appendTo(t, s, "c")
	expect(t, "after the loss", batch(t, s, 10, 100), content{Records: map[uint64]string{3: "c"}, Through: 3})
}

// Many at once must not pass the cap together.
func TestConcurrentAppendsKeepTheCap(t *testing.T) {
	const limit = 10_000
	s := open(t, t.TempDir(), Options{MaxBytes: limit})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for {
				_, err := s.Append(ctx, []byte(strings.Repeat("x", 500)), true)
				if errors.Is(err, ErrFull) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); stats(t, s).Blocked < 32; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Errorf("only %d of 32 wait for room", stats(t, s).Blocked)
			break
		}
	}
	cancel()
	wg.Wait()
	if got := stats(t, s).Bytes; got > limit || got < limit-1000 {
		t.Errorf("%d bytes, want just below %d", got, limit)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBytes: 30_000})
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				appendTo(t, s, fmt.Sprintf("%d/%d %s", w, i, strings.Repeat(" ", 200)))
			}
		})
	}
	seen := map[string]bool{}
	for acked := uint64(0); acked < writers*each; {
		<-s.Appended()
		for {
			b, err := s.Batch(50, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if b.Through == 0 {
				break
			}
			if len(b.Gaps) > 0 {
				t.Fatalf("gaps without damage: %v", b.Gaps)
			}
			for _, r := range b.Records {
				if r.Seq != acked+1 {
					t.Fatalf("record %d after %d", r.Seq, acked)
				}
				acked = r.Seq
				seen[string(r.Payload)] = true
			}
			ack(t, s, b.Through)
			stats(t, s)
		}
	}
	wg.Wait()
	if len(seen) != writers*each {
		t.Errorf("%d different events, want %d", len(seen), writers*each)
	}
}
