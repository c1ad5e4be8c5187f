package wal

import (
	"fmt"
	"os"
	"slices"
)

// Scan calls visit for each record from number from on, in order, until visit
// returns false or the last record that was durable when Scan began. Missing
// numbers are lost. payload is valid until visit returns, which must not call
// Release.
func (l *Log) Scan(from uint64, visit func(seq uint64, payload []byte) bool) error {
	l.files.RLock()
	defer l.files.RUnlock()
	segments, next := l.snapshot()
	for i := range segments {
		last := next - 1
		if i+1 < len(segments) {
			last = segments[i+1].base - 1
		}
		if last < from || len(segments[i].blocks) == 0 {
			continue
		}
		more, err := l.scanSegment(&segments[i], from, last, visit)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (l *Log) scanSegment(s *segment, from, last uint64, visit func(uint64, []byte) bool) (more bool, err error) {
	f, err := l.disk.open(s.path, os.O_RDONLY)
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	start := 0
	for start+1 < len(s.blocks) && s.blocks[start+1].first <= from {
		start++
	}
	more = true
	for i := start; i < len(s.blocks) && more; i++ {
		sound := s.scan(f, i, last, func(seq uint64, payload []byte) bool {
			more = seq < from || visit(seq, payload)
			return more
		})
		if !sound {
			l.damaged(s.base)
		}
	}
	return more, nil
}

// snapshot copies what Scan needs, so that appending goes on meanwhile.
func (l *Log) snapshot() ([]segment, uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]segment, len(l.segments))
	for i, s := range l.segments {
		out[i] = *s
	}
	return out, l.next
}

// damaged remembers that a segment went bad after it was opened.
func (l *Log) damaged(base uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.base == base {
			s.damaged = true
		}
	}
}

// Release gives back the segments all of whose records have numbers up to through.
// The last segment stays. Release waits for scans that are under way.
func (l *Log) Release(through uint64) error {
	l.files.Lock()
	defer l.files.Unlock()
	for _, s := range l.settled(through) {
		if err := s.retire(); err != nil {
			return fmt.Errorf("release log through %d: %w", through, err)
		}
		l.mu.Lock()
		l.segments = slices.Delete(l.segments, 0, 1)
		l.mu.Unlock()
	}
	return nil
}

func (l *Log) settled(through uint64) []*segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := 0
	for n+1 < len(l.segments) && l.segments[n+1].base-1 <= through {
		n++
	}
	return slices.Clone(l.segments[:n])
}
