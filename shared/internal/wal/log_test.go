package wal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/limits"
)

func open(t testing.TB, dir string, o Options) (*Log, Recovery) {
	t.Helper()
	l, found, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.active.Close() })
	return l, found
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t testing.TB, l *Log, payload string) uint64 {
	t.Helper()
	seq, err := l.Append([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// read1 reads the whole log.
func read1(t testing.TB, l *Log) map[uint64]string { t.Helper(); return readFrom(t, l, 1) }

func readFrom(t testing.TB, l *Log, from uint64) map[uint64]string {
	t.Helper()
	out := map[uint64]string{}
	last := uint64(0)
	err := l.Scan(from, func(seq uint64, payload []byte) bool {
		if seq <= last {
			t.Errorf("record %d after %d", seq, last)
		}
		last = seq
		out[seq] = string(payload)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNumbersGoOnAfterReopening(t *testing.T) {
	dir := t.TempDir()
	want := map[uint64]string{}
	for i := range 5 {
		l, found := open(t, dir, Options{SegmentBytes: 60})
		if diff := cmp.Diff(Recovery{}, found); diff != "" {
			t.Errorf("recovery %d (-want +got):\n%s", i, diff)
		}
		for j := range 3 {
			p := fmt.Sprintf("record %d of %d", j, i)
			want[appendTo(t, l, p)] = p
		}
		closeLog(t, l)
		if _, err := l.Append(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Append after Close: %v, want ErrClosed", err)
		}
	}
	l, _ := open(t, dir, Options{})
	if diff := cmp.Diff(want, read1(t, l)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if len(want) != 15 || l.Last() != 15 {
		t.Errorf("%d numbers, last %d; want 15", len(want), l.Last())
	}
}

// A panic in a part of an agent is the error of that part, and the others end in order: they must not
// wait for ever for what it was about to write.
func TestAPanicKeepsNobodyWaiting(t *testing.T) {
	d := newDisk()
	l, _ := open(t, t.TempDir(), Options{disk: d})
	d.before = func(string, string) error { panic("in the middle") }
	ended := make(chan error, 3)
	add := func() {
		defer func() {
			if r := recover(); r != nil {
				ended <- fmt.Errorf("%w: %v", ErrBroken, r)
			}
		}()
		_, err := l.Append([]byte("record"))
		ended <- err
	}
	l.commit.Lock() // until two share a group
	go add()
	go add()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		l.mu.RLock()
		together := l.group != nil && l.group.count == 2
		l.mu.RUnlock()
		if together {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("two records do not come together")
		}
	}
	l.commit.Unlock()
	for n := range 3 {
		if n == 2 {
			go add() // and one that comes later
		}
		select {
		case err := <-ended:
			if !errors.Is(err, ErrBroken) {
				t.Errorf("record %d: %v, want ErrBroken", n, err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a record waits for what does not come")
		}
	}
}

func TestConcurrentAppendsShareSyncs(t *testing.T) {
	d := newDisk()
	var gate sync.Mutex
	l, _ := open(t, t.TempDir(), Options{disk: d})
	d.before = func(op, _ string) error {
		if op == "sync" { // the first flush lasts until all others wait
			gate.Lock()
			defer gate.Unlock()
		}
		return nil
	}
	before := d.syncs
	gate.Lock()
	const writers = 64
	var wg sync.WaitGroup
	var seen sync.Map
	for i := range writers {
		wg.Go(func() {
			p := fmt.Sprint("from ", i)
			seen.Store(appendTo(t, l, p), p)
		})
	}
	waiting := func() uint64 {
		l.mu.RLock()
		defer l.mu.RUnlock()
		if l.group == nil {
			return 0
		}
		return l.group.count
	}
	for deadline := time.Now().Add(time.Minute); waiting() < writers/2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d appends wait for the one that flushes, want %d or more", waiting(), writers/2)
		}
	}
	gate.Unlock()
	wg.Wait()
	if n := d.syncs - before; n > writers/2 {
		t.Errorf("%d fsyncs for %d concurrent appends, want at most half", n, writers)
	}
	for seq, p := range read1(t, l) {
		if got, _ := seen.Load(seq); got != p {
			t.Errorf("record %d = %q, its Append said %v", seq, p, got)
		}
	}
	if l.Last() != writers {
		t.Errorf("last number %d, want %d", l.Last(), writers)
	}
}

func TestReadFromAnywhere(t *testing.T) {
	l, _ := open(t, t.TempDir(), Options{SegmentBytes: 300 << 10, disk: newDisk()})
	const records = 200 // 10 KiB each: several segments with several blocks
	for i := range records {
		appendTo(t, l, fmt.Sprint(i+1, strings.Repeat(" ", 10<<10)))
	}
	for from := range uint64(records + 2) {
		got := readFrom(t, l, from)
		want := records - max(int(from), 1) + 1
		if len(got) != want {
			t.Errorf("from %d: %d records, want %d", from, len(got), want)
		}
	}
	n := 0
	if err := l.Scan(17, func(uint64, []byte) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("Scan went on after visit returned false: %d visits, %v", n, err)
	}
}

func TestReleaseGivesBackWholeSegments(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, Options{SegmentBytes: 1})
	for i := range 6 {
		appendTo(t, l, fmt.Sprint(i))
	}
	before := l.Size()
	if err := l.Release(4); err != nil {
		t.Fatal(err)
	}
	if l.First() != 5 || l.Size() >= before || len(contents(t, dir)) != 2 {
		t.Errorf("first %d, %d bytes in %d files; want 5 and 2 files", l.First(), l.Size(), len(contents(t, dir)))
	}
	if err := l.Release(100); err != nil {
		t.Fatal(err)
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(6); err != nil {
		t.Fatal(err)
	}
	if l.First() != 7 || len(read1(t, l)) != 0 {
		t.Errorf("first %d with %v; want an empty log at 7", l.First(), read1(t, l))
	}
	closeLog(t, l)
	l, _ = open(t, dir, Options{})
	if seq := appendTo(t, l, "next"); seq != 7 {
		t.Errorf("next number %d, want 7", seq)
	}
}

func TestSettledNumbersAreNeverGivenOutAgain(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, Options{After: 41})
	if seq := appendTo(t, l, "a"); seq != 42 {
		t.Errorf("number %d, want 42", seq)
	}
	closeLog(t, l)
	l, _ = open(t, dir, Options{After: 100})
	if seq := appendTo(t, l, "b"); seq != 101 {
		t.Errorf("number %d, want 101", seq)
	}
}

// M4: a failed fsync leaves it unknown whether the record is there.
func TestFailedSyncEndsTheLog(t *testing.T) {
	dir := t.TempDir()
	d := newDisk()
	l, _ := open(t, dir, Options{disk: d})
	appendTo(t, l, "kept")
	failed := false
	d.before = func(op, _ string) error {
		if op == "sync" && !failed {
			failed = true
			return syscall.EIO
		}
		return nil
	}
	if _, err := l.Append([]byte("unknown")); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append = %v, want ErrBroken and EIO", err)
	}
	if _, err := l.Append([]byte("later")); !errors.Is(err, ErrBroken) {
		t.Errorf("Append after a failed fsync = %v, want ErrBroken", err)
	}
	if err := l.Rotate(); !errors.Is(err, ErrBroken) {
		t.Errorf("Rotate after a failed fsync = %v, want ErrBroken", err)
	}
	if diff := cmp.Diff(map[uint64]string{1: "kept"}, read1(t, l)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	l.Close()
	l, _ = open(t, dir, Options{})
	if got := read1(t, l); got[1] != "kept" {
		t.Errorf("after reopening: %v, want record 1 kept", got)
	}
}

// M5: a full disk is a state, not an end.
func TestFullDisk(t *testing.T) {
	for _, op := range []string{"a record", "a new segment"} {
		t.Run(op, func(t *testing.T) {
			dir := t.TempDir()
			d := newDisk()
			o := Options{disk: d}
			if op == "a new segment" {
				o.SegmentBytes = 1
			}
			l, _ := open(t, dir, o)
			appendTo(t, l, "before")
			d.before = func(op, _ string) error {
				if op == "write" {
					return syscall.ENOSPC
				}
				return nil
			}
			for range 3 {
				if _, err := l.Append([]byte("refused")); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
					t.Fatalf("Append = %v, want ENOSPC and not ErrBroken", err)
				}
			}
			d.before = nil
			if seq := appendTo(t, l, "after"); seq != 2 {
				t.Errorf("number %d, want 2: a refused record left a hole", seq)
			}
			l, found := open(t, dir, Options{})
			if diff := cmp.Diff(map[uint64]string{1: "before", 2: "after"}, read1(t, l)); diff != "" || len(found.Lost) > 0 {
				t.Errorf("records (-want +got):\n%s%+v", diff, found)
			}
		})
	}
}

// A write that failed after half of a group must not leave that half to recovery,
// whose members were told that they are not on disk.
func TestFailedGroupLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	d := newDisk()
	l, _ := open(t, dir, Options{disk: d})
	d.before = func(op, _ string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	two := appendRecord(appendRecord(nil, []byte("one")), []byte("two"))
	if _, err := l.flush(two, 2); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("flush = %v, want ENOSPC", err)
	}
	l, _ = open(t, dir, Options{})
	if got := read1(t, l); len(got) != 0 {
		t.Errorf("refused records came back: %v", got)
	}
}

// A new segment that can neither be made nor removed would cut off what is later
// appended to the one before it.
func TestHalfMadeSegmentEndsTheLog(t *testing.T) {
	dir := t.TempDir()
	d := newDisk()
	l, _ := open(t, dir, Options{SegmentBytes: 1, disk: d})
	appendTo(t, l, "a")
	d.before = func(op, path string) error {
		if op == "write" {
			os.Remove(path) // so that removing it fails as well
			return syscall.ENOSPC
		}
		return nil
	}
	for range 2 {
		if _, err := l.Append([]byte("b")); !errors.Is(err, ErrBroken) {
			t.Errorf("Append = %v, want ErrBroken", err)
		}
		d.before = nil
	}
}

func TestTooLargeRecord(t *testing.T) {
	l, _ := open(t, t.TempDir(), Options{})
	if _, err := l.Append(make([]byte, MaxRecord+1)); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("Append = %v, want ErrTooLarge", err)
	}
	if seq := appendTo(t, l, strings.Repeat("x", MaxRecord)); seq != 1 || len(read1(t, l)[1]) != MaxRecord {
		t.Errorf("the largest record did not come back")
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	foreign := map[string][]byte{"1.wal": nil, "00000000000000000000.wal": nil, "99999999999999999999.wal": nil, "18446744073709551615.wal": nil, "notes.txt": []byte("x")}
	for name, content := range foreign {
		put(t, dir, name, content)
	}
	l, _ := open(t, dir, Options{})
	if seq := appendTo(t, l, "a"); seq != 1 {
		t.Errorf("number %d, want 1", seq)
	}
	for name := range foreign {
		if _, err := os.Stat(dir + "/" + name); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	payload := []byte(strings.Repeat("x", 300)) // a small event
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l, _ := open(b, b.TempDir(), Options{})
			b.SetBytes(int64(len(payload)))
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := l.Append(payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}
