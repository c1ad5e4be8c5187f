package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// The log against a model: appends by one or several writers, rotation, release,
// clean restarts, failing disks, and a power cut before any single change of a file.
// After each cut every confirmed record is there, nothing is reordered, and nothing
// appears that was never appended.
func TestModel(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := &model{t: t, rt: rt, dir: filepath.Join(root, fmt.Sprint(runs)), confirmed: map[uint64]string{}, tried: map[string]bool{}}
		defer func() { os.RemoveAll(m.dir) }()
		m.start(m.dir + "/0")
		rt.Repeat(map[string]func(*rapid.T){
			"append":  func(*rapid.T) { m.append(1) },
			"group":   func(rt *rapid.T) { m.append(rapid.IntRange(2, 5).Draw(rt, "writers")) },
			"rotate":  func(*rapid.T) { m.fails(m.log.Rotate()) },
			"release": m.release,
			"restart": func(*rapid.T) { m.fails(m.log.Close()); m.start(m.at) },
			"cut":     m.cut,
			"full":    m.full,
			"":        func(*rapid.T) { m.check() },
		})
		m.log.Close()
	})
}

type model struct {
	t    *testing.T
	rt   *rapid.T
	dir  string
	at   string // directory of the log
	cuts int
	disk *testDisk
	log  *Log

	mu        sync.Mutex // guards the fields below
	confirmed map[uint64]string
	released  uint64
	tried     map[string]bool
}

func (m *model) fails(err error) {
	if err != nil {
		m.rt.Fatal(err)
	}
}

func (m *model) start(at string) {
	m.at, m.disk = at, newDisk()
	m.disk.trust(m.t, at)
	l, _, err := Open(at, Options{SegmentBytes: 120, disk: m.disk})
	m.fails(err)
	m.log = l
}

// append writes n records at the same time and notes those that were confirmed.
func (m *model) append(n int) {
	var wg sync.WaitGroup
	for range n {
		m.mu.Lock()
		p := fmt.Sprint("record ", len(m.tried))
		m.tried[p] = true
		m.mu.Unlock()
		wg.Go(func() {
			seq, err := m.log.Append([]byte(p))
			if err != nil {
				return
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.confirmed[seq] = p
		})
	}
	wg.Wait()
}

func (m *model) release(rt *rapid.T) {
	through := rapid.Uint64Range(0, m.log.Last()).Draw(rt, "through")
	m.fails(m.log.Release(through))
	m.released = max(m.released, through)
}

// cut takes the power away before one of the next changes, somewhere in a few
// appends, and goes on with what is left on the disk.
func (m *model) cut(rt *rapid.T) {
	left := rapid.IntRange(0, 8).Draw(rt, "changes before the cut")
	junk := rapid.IntRange(0, 2).Draw(rt, "fate of unsynced bytes")
	m.cuts++
	to := fmt.Sprint(m.dir, "/", m.cuts)
	var safe map[uint64]string
	m.disk.before = func(_, _ string) error {
		if left--; left != -1 {
			return nil
		}
		m.disk.cut(m.t, m.at, to, func(unsynced int) int { return unsynced * junk / 2 })
		m.mu.Lock()
		defer m.mu.Unlock()
		safe = map[uint64]string{}
		for seq, p := range m.confirmed {
			safe[seq] = p
		}
		return nil
	}
	for safe == nil {
		m.append(2)
	}
	m.disk.before = nil
	m.log.Close()
	m.confirmed = safe
	m.start(to)
	// What was written and not confirmed may have survived; from now on it counts.
	m.fails(m.log.Scan(1, func(seq uint64, payload []byte) bool {
		if m.confirmed[seq] == "" {
			m.confirmed[seq] = string(payload)
		}
		return true
	}))
}

// full fails the writes of a few appends, which must then leave nothing behind.
func (m *model) full(*rapid.T) {
	m.disk.before = func(op, _ string) error {
		if op == "write" {
			return os.ErrPermission
		}
		return nil
	}
	m.append(2)
	m.disk.before = nil
}

func (m *model) check() {
	got := map[uint64]string{}
	next := max(m.log.First(), m.released+1)
	m.fails(m.log.Scan(next, func(seq uint64, payload []byte) bool {
		if seq != next || !m.tried[string(payload)] {
			m.rt.Fatalf("record %d = %q, want number %d and something that was appended", seq, payload, next)
		}
		got[seq] = string(payload)
		next++
		return true
	}))
	if next != m.log.Last()+1 {
		m.rt.Fatalf("the log ends before %d, its last number is %d", next, m.log.Last())
	}
	for seq, p := range m.confirmed {
		if seq > m.released && got[seq] != p {
			m.rt.Fatalf("record %d = %q, confirmed was %q", seq, got[seq], p)
		}
	}
}

// Whatever the bytes of a segment are, reading it ends, and yields only records
// whose checksums hold, in order.
func FuzzSegment(f *testing.F) {
	good := []byte(magic)
	for i := range 3 {
		r := appendRecord(nil, bytes.Repeat([]byte{byte(i)}, i*9))
		number(r, uint64(i+1), func(int, uint64) {})
		good = append(good, r...)
	}
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Add(append(bytes.Clone(good[:20]), good[9:]...))
	f.Add([]byte(magic))
	f.Add(binary.LittleEndian.AppendUint32([]byte(magic), 1<<32-1))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &segment{base: 1, size: int64(len(content))}
		lost := uint64(0)
		next, end := s.recover(memory{bytes.NewReader(content)}, noLast, func(from, to uint64) {
			if from > to {
				t.Fatalf("lost %d to %d", from, to)
			}
			lost += to - from + 1
		})
		if end > max(s.size, 0) || next < 1 || next-1-lost > uint64(len(content))/headerSize {
			t.Fatalf("%d bytes: next %d, lost %d, end %d", len(content), next, lost, end)
		}
		read := uint64(0)
		for i := range s.blocks {
			s.scan(memory{bytes.NewReader(content)}, i, noLast, func(seq uint64, payload []byte) bool {
				r := appendRecord(nil, payload)
				number(r, seq, func(int, uint64) {})
				if !bytes.Contains(content, r) {
					t.Fatalf("record %d is not in the segment", seq)
				}
				read++
				return true
			})
		}
		if read != next-1-lost {
			t.Fatalf("scan read %d records, recovery found %d", read, next-1-lost)
		}
	})
}

// memory is a file that is only read.
type memory struct{ *bytes.Reader }

func (memory) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }
func (memory) Truncate(int64) error               { return os.ErrPermission }
func (memory) Sync() error                        { return os.ErrPermission }
func (memory) Close() error                       { return nil }
