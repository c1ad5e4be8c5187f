package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
)

const (
	// MaxRecord is the longest payload: many times the largest result that an agent
	// journals, which goes with one call.
	MaxRecord = 16 << 20

	// DefaultSegmentBytes is small enough that settled space is soon given back
	// and recovery needs little memory, large enough that new files are rare.
	DefaultSegmentBytes = 4 << 20

	maxSegmentBytes = 64 << 20
	maxGroup        = 1 << 20 // a group that has this much takes no more members
)

// ErrBroken is wrapped by every error after one that left it unknown what is on
// disk. The log takes no more writes; reopening recovers it.
var ErrBroken = errors.New("log is broken, the last write may or may not be on disk; restart to recover")

// Options of a log. The zero value is usable.
type Options struct {
	// SegmentBytes is about how long a segment gets; 0 means DefaultSegmentBytes,
	// and more than 64 MiB means 64 MiB.
	SegmentBytes int64
	// After is a number that was settled, as the caller knows from elsewhere. No
	// number up to it is given out again, whatever became of the files.
	After uint64

	disk disk // nil: the operating system; tests put a failing one
}

// Range is the numbers From through To.
type Range struct{ From, To uint64 }

// Recovery is what Open found.
type Recovery struct {
	Torn    int64    // bytes of an unconfirmed write that were cut off the end
	Lost    []Range  // numbers between the first and the last that no valid record has
	Damaged []string // segments that hold bytes of no record, or not all they should
}

// Log is an open log. See the package documentation.
type Log struct {
	dir          string
	segmentBytes int64
	disk         disk

	commit sync.Mutex // held while writing; guards the two fields below
	active file       // the last segment
	failed error      // set once no more writes are taken

	mu       sync.RWMutex // guards the fields below; never held during I/O
	group    *group       // which takes members, or nil
	segments []*segment   // at least one
	next     uint64       // number of the next record

	files sync.RWMutex // read-held while segments are read, held while they are removed
}

// Open opens or creates the log in dir, which is made when it is missing, and
// repairs what a crash left. Damage is reported, not an error; an error means that
// dir cannot be used as it is. Only one process may have a log open.
func Open(dir string, o Options) (*Log, Recovery, error) {
	l := &Log{dir: dir, segmentBytes: min(o.SegmentBytes, maxSegmentBytes), disk: o.disk}
	if l.segmentBytes <= 0 {
		l.segmentBytes = DefaultSegmentBytes
	}
	if l.disk == nil {
		l.disk = system{}
	}
	found, err := l.recover(o.After)
	if err != nil {
		if l.active != nil {
			l.active.Close()
		}
		return nil, Recovery{}, fmt.Errorf("open log %s: %w", dir, err)
	}
	return l, found, nil
}

func (l *Log) recover(after uint64) (Recovery, error) {
	var found Recovery
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return found, err
	}
	if err := l.disk.syncDir(filepath.Dir(l.dir)); err != nil {
		return found, err
	}
	segments, err := list(l.dir)
	if err != nil {
		return found, err
	}
	for i, s := range segments {
		last := uint64(noLast)
		if i+1 < len(segments) {
			last = segments[i+1].base - 1
		}
		if err := l.recoverSegment(s, last, &found); err != nil {
			return found, err
		}
	}
	l.segments = segments
	if len(segments) == 0 || l.next <= after {
		return found, l.begin(max(l.next, after+1))
	}
	return found, nil
}

// recoverSegment reads one segment and, when it is the last, makes it ready for
// appending.
func (l *Log) recoverSegment(s *segment, last uint64, found *Recovery) error {
	f, err := l.disk.open(s.path, os.O_RDWR)
	if err != nil {
		return err
	}
	info, err := os.Stat(s.path)
	if err == nil && info.Size() > maxSegmentFile {
		err = fmt.Errorf("%s: %w: not a segment of ours; move it away", s.path, limits.ErrTooLarge)
	}
	if err != nil {
		f.Close()
		return err
	}
	s.size = info.Size()
	lost := func(from, to uint64) { found.Lost = append(found.Lost, Range{from, to}) }
	next, end := s.recover(f, last, lost)
	if last == noLast {
		l.active, l.next = f, next
		found.Torn, err = l.cut(s, end)
	} else {
		if next <= last {
			lost(next, last)
		}
		s.damaged = s.damaged || next <= last || end < s.size
		err = f.Close()
	}
	if s.damaged {
		found.Damaged = append(found.Damaged, s.path)
	}
	return err
}

// cut ends the last segment after its last valid record, reports how many bytes it
// cut off, and makes sure that what was read is also on disk: a record that only the
// page cache holds would be sent, lost with the power, and its number given out again.
func (l *Log) cut(s *segment, end int64) (torn int64, err error) {
	if s.damaged && len(s.blocks) == 0 { // a header torn when the segment was made
		torn, s.damaged, end = s.size, false, int64(len(magic))
		if _, err := l.active.WriteAt([]byte(magic), 0); err != nil {
			return 0, err
		}
	}
	torn = max(torn, s.size-end)
	err = failpoint.Hit("wal.recover.before")
	if err == nil {
		err = l.active.Truncate(end)
	}
	if err != nil {
		return 0, err
	}
	s.size = end
	if err := errors.Join(failpoint.Hit("wal.recover.cut"), l.active.Sync()); err != nil {
		return 0, err
	}
	return torn, errors.Join(l.disk.syncDir(l.dir), failpoint.Hit("wal.recover.synced"))
}

// begin makes a new last segment, whose first record will be number base.
func (l *Log) begin(base uint64) error {
	s, f, err := create(l.disk, l.dir, base)
	if err != nil {
		return err
	}
	if l.active != nil {
		l.active.Close() // fsynced already, so nothing can be lost here
	}
	l.active = f
	l.mu.Lock()
	l.segments, l.next = append(l.segments, s), base
	l.mu.Unlock()
	return nil
}

// First returns the number with which the oldest segment begins.
func (l *Log) First() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.segments[0].base
}

// Last returns the number of the newest durable record, or the one before the first
// that will be appended.
func (l *Log) Last() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.next - 1
}

// Size returns how many bytes the segments have.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var sum int64
	for _, s := range l.segments {
		sum += s.size
	}
	return sum
}

// Close seals the log by beginning the next segment, and takes no more writes.
// Appends that wait get an error; what they return for is not on disk.
func (l *Log) Close() error {
	l.commit.Lock()
	defer l.commit.Unlock()
	if errors.Is(l.failed, os.ErrClosed) {
		return nil
	}
	var err error
	if l.failed == nil {
		err = l.rotate()
	}
	l.failed = os.ErrClosed
	return errors.Join(err, l.active.Close())
}
