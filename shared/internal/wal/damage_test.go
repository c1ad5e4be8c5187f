package wal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// place is where one record of a test segment stands.
type place struct{ from, to int }

// sample makes a segment with six records of different sizes and returns its
// content, where the records stand in it, and the payloads by number.
func sample(t *testing.T) (content []byte, places []place, payloads map[uint64]string) {
	t.Helper()
	dir := t.TempDir()
	l, _ := open(t, dir, Options{})
	payloads = map[uint64]string{}
	at := len(magic)
	for i, size := range []int{0, 1, 7, 30, 3, 16} {
		p := strings.Repeat(fmt.Sprint(i), size)
		appendTo(t, l, p)
		payloads[uint64(i+1)] = p
		places = append(places, place{at, at + headerSize + size})
		at += headerSize + size
	}
	content = contents(t, dir)[filepath.Base(segmentPath("", 1))]
	if len(content) != at {
		t.Fatalf("the segment has %d bytes, want %d", len(content), at)
	}
	return content, places, payloads
}

// reopen writes a log of the given first segment, followed by an empty one when it
// is sealed, and returns what is read from it.
func reopen(t *testing.T, content []byte, sealed bool) (*Log, Recovery, map[uint64]string) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, filepath.Base(segmentPath("", 1)), content)
	if sealed {
		put(t, dir, filepath.Base(segmentPath("", 7)), []byte(magic))
	}
	l, found := open(t, dir, Options{disk: newDisk()})
	return l, found, read1(t, l)
}

// expect checks that exactly the records for which lost is true are gone, that this
// is what recovery reports, and that appending goes on behind them.
func expect(t *testing.T, what string, content []byte, payloads map[uint64]string, lost func(seq uint64) bool) {
	t.Helper()
	l, found, got := reopen(t, content, true)
	want, wantLost := map[uint64]string{}, map[uint64]bool{}
	for seq, p := range payloads {
		if lost(seq) {
			wantLost[seq] = true
		} else {
			want[seq] = p
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: records (-want +got):\n%s", what, diff)
	}
	if diff := cmp.Diff(wantLost, numbers(found.Lost)); diff != "" {
		t.Errorf("%s: lost numbers (-want +got):\n%s", what, diff)
	}
	if len(found.Damaged) != 1 {
		t.Errorf("%s: not detected: %+v", what, found)
	}
	if seq := appendTo(t, l, "next"); seq != 7 {
		t.Errorf("%s: next number %d, want 7", what, seq)
	}
}

func numbers(ranges []Range) map[uint64]bool {
	out := map[uint64]bool{}
	for _, r := range ranges {
		for seq := r.From; seq <= r.To; seq++ {
			out[seq] = true
		}
	}
	return out
}

// R8: every single-bit flip is detected, costs the record it hits and no other.
func TestFlipEveryBit(t *testing.T) {
	content, places, payloads := sample(t)
	for bit := range len(content) * 8 {
		flipped := bytes.Clone(content)
		flipped[bit/8] ^= 1 << (bit % 8)
		expect(t, fmt.Sprintf("bit %d of byte %d", bit%8, bit/8), flipped, payloads, func(seq uint64) bool {
			p := places[seq-1]
			return p.from <= bit/8 && bit/8 < p.to
		})
	}
}

// R8: every truncation of a segment that was complete is detected and costs the
// records that it cuts.
func TestTruncateEverywhere(t *testing.T) {
	content, places, payloads := sample(t)
	for size := range len(content) {
		expect(t, fmt.Sprintf("cut to %d", size), content[:size], payloads, func(seq uint64) bool {
			return places[seq-1].to > size
		})
	}
}

// In the last segment after a crash a cut is a write that was never confirmed.
func TestTornTailEverywhere(t *testing.T) {
	content, places, payloads := sample(t)
	for size := range len(content) {
		whole, end := 0, len(magic)
		for whole < len(places) && places[whole].to <= size {
			whole, end = whole+1, places[whole].to
		}
		l, found, got := reopen(t, content[:size], false)
		torn := int64(size - end)
		if size < end {
			torn = int64(size)
		}
		if diff := cmp.Diff(Recovery{Torn: torn}, found); diff != "" {
			t.Errorf("cut to %d: recovery (-want +got):\n%s", size, diff)
		}
		if len(got) != whole {
			t.Errorf("cut to %d: %d records, want %d", size, len(got), whole)
		}
		for seq, p := range got {
			if p != payloads[seq] {
				t.Errorf("cut to %d: record %d = %q, want %q", size, seq, p, payloads[seq])
			}
		}
		if seq := appendTo(t, l, "next"); seq != uint64(whole+1) {
			t.Errorf("cut to %d: next number %d, want %d", size, seq, whole+1)
		}
	}
}

// Several records damaged at once: those between are found again.
func TestOnlyEveryOtherRecordSurvives(t *testing.T) {
	content, places, payloads := sample(t)
	for _, p := range []place{places[0], places[1], places[3], places[5]} {
		clear(content[p.from:p.to])
	}
	expect(t, "records 1, 2, 4 and 6 zeroed", content, payloads, func(seq uint64) bool {
		return seq <= 2 || seq == 4 || seq == 6
	})
}

// A payload that looks like a record must not become one when the record around it
// is damaged: a plugin could forge events of others with it.
func TestPayloadCannotPoseAsRecord(t *testing.T) {
	forged := appendRecord(nil, []byte("forged"))
	number(forged, 9, func(int, uint64) {})
	dir := t.TempDir()
	l, _ := open(t, dir, Options{})
	appendTo(t, l, string(forged)+strings.Repeat(" ", 50))
	appendTo(t, l, "after")
	path := segmentPath(dir, 1)
	content := contents(t, dir)[filepath.Base(path)]
	content[len(magic)+4] ^= 1 // the checksum of the first record
	_, found, got := reopen(t, content, false)
	if diff := cmp.Diff(map[uint64]string{2: "after"}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Range{{1, 1}}, found.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
}

// A clean end is sealed: records that are missing after it are a loss, even when
// the file ends where a record does.
func TestCutAfterCloseIsCounted(t *testing.T) {
	_, places, _ := sample(t)
	dir := t.TempDir()
	l, _ := open(t, dir, Options{})
	for _, p := range places {
		appendTo(t, l, strings.Repeat("x", p.to-p.from-headerSize))
	}
	closeLog(t, l)
	if err := os.Truncate(segmentPath(dir, 1), int64(places[3].to)); err != nil {
		t.Fatal(err)
	}
	l, found := open(t, dir, Options{})
	if diff := cmp.Diff([]Range{{5, 6}}, found.Lost); diff != "" || l.Last() != 6 {
		t.Errorf("last number %d, lost (-want +got):\n%s", l.Last(), diff)
	}
}

func TestMissingSegmentIsCounted(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, Options{SegmentBytes: 1}) // a segment for each record
	for _, p := range []string{"one", "two", "three", "four"} {
		appendTo(t, l, p)
	}
	closeLog(t, l)
	for _, seq := range []uint64{2, 3} {
		if err := os.Remove(segmentPath(dir, seq)); err != nil {
			t.Fatal(err)
		}
	}
	l, found := open(t, dir, Options{})
	if diff := cmp.Diff([]Range{{2, 3}}, found.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[uint64]string{1: "one", 4: "four"}, read1(t, l)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// A sector that cannot be read costs the records in it, not the start of the agent.
func TestUnreadableSector(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, Options{})
	big := strings.Repeat("x", 3*sector)
	for range 5 {
		appendTo(t, l, big)
	}
	closeLog(t, l)
	// A record has three sectors and 16 bytes: the second touches sectors 3 to 6,
	// which no other record but the first (3) and the third (6) does.
	l, found := open(t, dir, Options{disk: worn{}})
	if diff := cmp.Diff([]Range{{2, 2}}, found.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	if got := read1(t, l); len(got) != 4 {
		t.Errorf("%d records, want 4", len(got))
	}
}

// worn is a disk that cannot read the fifth sector of any file.
type worn struct{ system }

func (worn) open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	return wornFile{f}, err
}

type wornFile struct{ *os.File }

func (f wornFile) ReadAt(b []byte, off int64) (int, error) {
	if off < 5*sector && off+int64(len(b)) > 4*sector {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

// Damage that comes while the log is open is found by reading, and the segment kept.
func TestDamagedSegmentIsKeptAsEvidence(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, Options{SegmentBytes: 1})
	for i := range keptBad + 3 {
		appendTo(t, l, fmt.Sprint("record ", i))
		flip(t, segmentPath(dir, uint64(i+1)))
	}
	if got := read1(t, l); len(got) != 0 {
		t.Errorf("read %v from damaged segments", got)
	}
	appendTo(t, l, "sound")
	if err := l.Release(l.Last()); err != nil {
		t.Fatal(err)
	}
	bad, err := filepath.Glob(filepath.Join(dir, "*"+badSuffix))
	if err != nil || len(bad) != keptBad {
		t.Errorf("%d damaged segments kept, %v; want %d", len(bad), err, keptBad)
	}
	if diff := cmp.Diff(map[uint64]string{l.Last(): "sound"}, read1(t, l)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
