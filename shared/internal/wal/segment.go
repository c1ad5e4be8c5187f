package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
)

const (
	suffix    = ".wal"
	badSuffix = ".bad"

	// blockBytes is how far apart the places are from which reading can begin: the
	// most that Scan reads in vain, against 16 bytes of memory for each.
	blockBytes = 64 << 10

	// maxSegmentFile is the longest segment that is read. None that we write
	// reaches it: see maxSegmentBytes, maxGroup and MaxRecord.
	maxSegmentFile = 128 << 20

	// sector is the unit in which a disk that cannot read reports it.
	sector = 4 << 10

	// noLast bounds the numbers of the last segment, which has no successor. No log
	// gets there, and adding to it does not overflow.
	noLast = 1 << 62

	// keptBad bounds how much disk damaged segments take as evidence.
	keptBad = 4
)

// disk is where segments are kept.
type disk interface {
	open(path string, flag int) (file, error)
	syncDir(dir string) error
}

// file is what a segment needs of *os.File.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// system is the disk of the operating system.
type system struct{}

func (system) open(path string, flag int) (file, error) { return os.OpenFile(path, flag, 0o600) }

func (system) syncDir(dir string) error { return atomicfile.SyncDir(dir) }

// block is a place in a segment where a valid record begins.
type block struct {
	first uint64 // number of that record
	off   int64
}

type segment struct {
	base    uint64 // number of the first record
	path    string
	size    int64
	blocks  []block // rising, about blockBytes apart
	damaged bool
}

// mark notes that record seq begins at off, when it is far enough from the last
// place noted.
func (s *segment) mark(off int64, seq uint64) {
	if n := len(s.blocks); n == 0 || off-s.blocks[n-1].off >= blockBytes {
		s.blocks = append(s.blocks, block{seq, off})
	}
}

func segmentPath(dir string, base uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", base, suffix))
}

// list finds the segments in dir, in order. Files with other names are not ours.
func list(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []*segment
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), suffix)
		base, err := strconv.ParseUint(name, 10, 64)
		if !isSegment || err != nil || len(name) != 20 || base == 0 || base >= noLast || !e.Type().IsRegular() {
			continue
		}
		out = append(out, &segment{base: base, path: segmentPath(dir, base)})
	}
	return out, nil // ReadDir sorts by name, which is by number
}

// create makes the segment that begins with number base, durably, or leaves no
// trace of it. When a trace may be left the error wraps ErrBroken: appending to the
// segment before it would then give its numbers out twice.
func create(d disk, dir string, base uint64) (*segment, file, error) {
	s := &segment{base: base, path: segmentPath(dir, base), size: int64(len(magic))}
	if err := failpoint.Hit("wal.segment.before"); err != nil {
		return nil, nil, err
	}
	f, err := d.open(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.WriteAt([]byte(magic), 0)
	if err == nil {
		err = errors.Join(failpoint.Hit("wal.segment.written"), f.Sync(), failpoint.Hit("wal.segment.synced"))
	}
	if err == nil {
		err = errors.Join(d.syncDir(dir), failpoint.Hit("wal.segment.made"))
	}
	if err == nil {
		return s, f, nil
	}
	f.Close()
	if undo := errors.Join(os.Remove(s.path), d.syncDir(dir)); undo != nil {
		return nil, nil, fmt.Errorf("%w: %w: %w", ErrBroken, err, undo)
	}
	return nil, nil, err
}

// read returns size bytes of f from off on. Sectors that the disk cannot read are
// returned as zeros, which no checksum accepts.
func read(f file, off, size int64) []byte {
	b := make([]byte, size)
	if _, err := f.ReadAt(b, off); err == nil || errors.Is(err, io.EOF) {
		return b
	}
	for at := int64(0); at < size; {
		end := min(size, at+sector-(off+at)%sector)
		if n, err := f.ReadAt(b[at:end], off+at); err != nil && !errors.Is(err, io.EOF) {
			clear(b[at+int64(n) : end])
		}
		at = end
	}
	return b
}

// recover reads the whole segment, of which no number is above last. It fills in
// the blocks, reports lost numbers before a record that is there, and returns the
// number after the last record and the offset after it.
func (s *segment) recover(f file, last uint64, lost func(from, to uint64)) (next uint64, end int64) {
	b := read(f, 0, s.size)
	start := min(len(magic), len(b))
	s.damaged = string(b[:start]) != magic
	next = s.base
	n, bad := walk(b[start:], s.base, last, func(off int, seq uint64, _ []byte) bool {
		if seq > next {
			lost(next, seq-1)
		}
		s.mark(int64(start+off), seq)
		next = seq + 1
		return true
	})
	s.damaged = s.damaged || bad > 0
	return next, int64(start + n)
}

// scan reads the records of one block, from its first on, until visit returns
// false. It reports whether all of them were valid.
func (s *segment) scan(f file, i int, last uint64, visit func(seq uint64, payload []byte) bool) (sound bool) {
	end := s.size
	if i+1 < len(s.blocks) {
		end, last = s.blocks[i+1].off, s.blocks[i+1].first-1
	}
	from := s.blocks[i]
	b := read(f, from.off, end-from.off)
	stopped := false
	n, bad := walk(b, from.first, last, func(_ int, seq uint64, payload []byte) bool {
		stopped = !visit(seq, payload)
		return !stopped
	})
	return bad == 0 && (stopped || n == len(b))
}

// retire removes the segment, or puts it aside as evidence when it is damaged.
func (s *segment) retire() error {
	if err := failpoint.Hit("wal.retire.before"); err != nil {
		return err
	}
	if !s.damaged {
		return errors.Join(os.Remove(s.path), failpoint.Hit("wal.retire.removed"))
	}
	if err := os.Rename(s.path, strings.TrimSuffix(s.path, suffix)+badSuffix); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(s.path), "*"+badSuffix))
	if err != nil || len(old) <= keptBad {
		return err
	}
	slices.Sort(old)
	for _, path := range old[:len(old)-keptBad] {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
