package wal

import (
	"errors"
	"fmt"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
)

// group is the records that are written with one fsync.
type group struct {
	buf   []byte
	count uint64
	first uint64        // number of the first record, when err is nil
	err   error         // how it ended
	done  chan struct{} // closed after the two above are set
}

// Append adds a record of at most MaxRecord bytes and returns its number once it is
// durable. Concurrent calls share an fsync. After an error that wraps ErrBroken the
// record may be there or not; after any other it is not.
func (l *Log) Append(payload []byte) (seq uint64, err error) {
	if len(payload) > MaxRecord {
		return 0, fmt.Errorf("append to log %s: %w: %d bytes, at most %d", l.dir, limits.ErrTooLarge, len(payload), MaxRecord)
	}
	g, place, leads := l.join(payload)
	if leads {
		l.lead(g)
	}
	<-g.done
	if g.err != nil {
		return 0, fmt.Errorf("append to log %s: %w", l.dir, g.err)
	}
	return g.first + place, nil
}

// join puts a record into the open group. Who opens a group leads it.
func (l *Log) join(payload []byte) (g *group, place uint64, leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group == nil || len(l.group.buf) >= maxGroup {
		l.group, leads = &group{done: make(chan struct{})}, true
	}
	g, place = l.group, l.group.count
	g.buf = appendRecord(g.buf, payload)
	g.count++
	return g, place, leads
}

var errPanicked = fmt.Errorf("%w: a panic while it was written to", ErrBroken)

// lead makes g durable and wakes all that are in it. After a panic on the way the log is broken, and
// nobody waits for what does not come.
func (l *Log) lead(g *group) {
	l.commit.Lock()
	defer l.commit.Unlock()
	g.err = errPanicked
	defer func() {
		if g.err == errPanicked {
			l.failed = errPanicked
		}
		close(g.done)
	}()
	l.closeGroup(g)
	g.first, g.err = l.flush(g.buf, g.count)
}

// closeGroup lets nobody join g any more.
func (l *Log) closeGroup(g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group == g {
		l.group = nil
	}
}

// flush writes a group and makes it durable, all or nothing. Numbers are given
// here and not in join, so that a group that fails leaves no hole.
func (l *Log) flush(buf []byte, count uint64) (first uint64, err error) {
	if l.failed != nil {
		return 0, l.failed
	}
	s := l.last()
	if s.size+int64(len(buf)) > l.segmentBytes && s.size > int64(len(magic)) {
		if err := l.rotate(); err != nil {
			return 0, err
		}
		s = l.last()
	}
	first = l.next
	var marks []block
	number(buf, first, func(off int, seq uint64) { marks = append(marks, block{seq, s.size + int64(off)}) })
	err = failpoint.Hit("wal.append.before")
	if err == nil {
		_, err = l.active.WriteAt(buf, s.size)
	}
	if err != nil {
		if undo := l.active.Truncate(s.size); undo != nil {
			return 0, l.fail(fmt.Errorf("%w: %w", err, undo))
		}
		return 0, err
	}
	if err := errors.Join(failpoint.Hit("wal.append.written"), l.active.Sync(), failpoint.Hit("wal.append.synced")); err != nil {
		return 0, l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range marks {
		s.mark(m.off, m.first)
	}
	s.size += int64(len(buf))
	l.next += count
	return first, nil
}

func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("%w: %w", ErrBroken, err)
	return l.failed
}

func (l *Log) last() *segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.segments[len(l.segments)-1]
}

// rotate begins a new segment unless the last one is empty. The caller holds commit.
func (l *Log) rotate() error {
	if l.last().size == int64(len(magic)) {
		return nil
	}
	err := l.begin(l.next)
	if errors.Is(err, ErrBroken) {
		l.failed = err
	}
	return err
}

// Rotate begins a new segment, so that Release can give back all that was appended
// before.
func (l *Log) Rotate() error {
	l.commit.Lock()
	defer l.commit.Unlock()
	if l.failed != nil {
		return l.failed
	}
	return l.rotate()
}
