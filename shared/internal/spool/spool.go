package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/wal"
)

// ErrFull says that there was no room before the caller's context ended.
var ErrFull = errors.New("the spool is full: the orchestrator has not taken events for long; see whether it can be reached, or raise spool.max_bytes")

const (
	defaultMaxBytes = 256 << 20

	// reservedShare is the part of the spool, one tenth, that only critical events use.
	reservedShare = 10

	// segmentShare keeps segments small beside the whole, so that acknowledged space
	// is given back in steps that matter. No spool has longer ones than a wal has by
	// default, since opening reads a segment at once: a larger spool must not need more memory.
	segmentShare = 32

	timeBytes = 8              // of a record: when it was appended, UnixNano, little endian
	overhead  = timeBytes + 16 // of a record on disk beside its payload
	beginning = 8              // of a segment, which a record may be the first of
)

// Options of a spool. The zero value is usable.
type Options struct {
	MaxBytes     int64            // on disk; 0: 256 MiB
	SegmentBytes int64            // 0: a share of MaxBytes, at most wal.DefaultSegmentBytes
	Now          func() time.Time // nil: time.Now
}

// Stats tell how the spool is.
type Stats struct {
	Last    uint64            // newest number that was given out
	Depth   uint64            // events that wait
	Bytes   int64             // on disk
	Oldest  time.Time         // when the first event that waits was appended; zero when none does
	Blocked int               // callers that wait for room
	Dropped map[string]uint64 // events in gaps since the spool was opened, by reason
	Account Account
}

// Spool is an open spool. See the package documentation.
type Spool struct {
	dir          string
	maxBytes     int64
	segmentBytes int64
	now          func() time.Time
	log          *wal.Log
	recovery     wal.Recovery
	file         positionFile
	appended     chan struct{}
	closing      sync.Once
	closed       error // set by closing

	mu       sync.Mutex // guards the fields below
	position position
	ledger   ledger
	handed   []run             // what the last batches gave out
	aside    map[uint64]string // numbers that are not sent any more, and why
	dropped  map[string]uint64
	counted  uint64        // lost numbers up to here are in dropped
	room     chan struct{} // closed and replaced when space is given back
	reserved int64         // bytes of appends under way
	blocked  int
}

// Open opens the spool in dir, which is made when it is missing, and repairs what a
// crash left. A write that was cut short may have been a confirmed one that was
// damaged since, and its number will be given out again: then the stream goes on under
// a new epoch, so that the orchestrator takes nothing for seen.
func Open(dir string, o Options) (*Spool, error) {
	s := &Spool{
		dir: dir, maxBytes: o.MaxBytes, segmentBytes: o.SegmentBytes, now: o.Now, appended: make(chan struct{}, 1),
		aside: map[uint64]string{}, dropped: map[string]uint64{}, room: make(chan struct{}),
	}
	if s.maxBytes <= 0 {
		s.maxBytes = defaultMaxBytes
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.segmentBytes <= 0 {
		s.segmentBytes = min(s.maxBytes/segmentShare, wal.DefaultSegmentBytes)
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	if s.log.Last() > s.position.settled() {
		s.pulse() // for what waits from before
	}
	return s, nil
}

func (s *Spool) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.dir)); err != nil {
		return err
	}
	file, at, known, err := openPosition(filepath.Join(s.dir, "position"))
	if err != nil {
		return err
	}
	log, found, err := wal.Open(filepath.Join(s.dir, "log"), wal.Options{SegmentBytes: s.segmentBytes, After: at.settled()})
	if err != nil {
		file.file.Close()
		return err
	}
	if !known {
		at.Acked = log.First() - 1 // what was given back had been settled
	}
	s.file, s.log, s.recovery, s.position, s.ledger = file, log, found, at.position, at.ledger
	if !at.counted {
		s.ledger = ledger{Begun: at.settled(), Last: log.Last()}
	}
	cut := s.ledger.Last > log.Last() // confirmed ones: they and what says so are not on one disk block
	if cut {
		s.ledger.Cut += s.ledger.Last - log.Last()
		s.recovery.Lost = append(s.recovery.Lost, wal.Range{From: log.Last() + 1, To: s.ledger.Last})
	}
	if !known || found.Torn > 0 || cut {
		err = s.Renew()
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// Recovery is what Open found to repair.
func (s *Spool) Recovery() wal.Recovery { return s.recovery }

// Renew goes on under a new epoch: what waits is sent anew, and only its ids tell the
// orchestrator what it has seen. It is for a directory that was restored from a
// snapshot, in which numbers are given out again.
func (s *Spool) Renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, counts := s.position.renewed(), s.ledger
	counts.Last = s.log.Last()
	if err := s.file.write(&next, counts); err != nil {
		return fmt.Errorf("renew the epoch: %w", err)
	}
	s.position, s.ledger = next, counts
	return nil
}

// Epoch names the stream: 128 random bits in hex.
func (s *Spool) Epoch() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position.epoch()
}

// Append stores a payload and returns its number once it is durable. It waits for
// room as long as ctx allows, then fails with ErrFull. Critical ones may use the
// reserve. After an error that wraps wal.ErrBroken it is unknown whether the event is
// stored; after any other it is not.
func (s *Spool) Append(ctx context.Context, payload []byte, critical bool) (uint64, error) {
	need := int64(len(payload) + overhead + beginning)
	if err := s.reserve(ctx, need, critical); err != nil {
		return 0, err
	}
	record := binary.LittleEndian.AppendUint64(make([]byte, 0, timeBytes+len(payload)), uint64(s.now().UnixNano()))
	seq, err := s.log.Append(append(record, payload...))
	s.mu.Lock()
	s.reserved -= need
	s.wake() // between the two lines above the record counted twice
	s.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("store an event: %w", err)
	}
	s.pulse()
	return seq, nil
}

// split takes a record apart. One that is too short to be ours is empty.
func split(record []byte) (at time.Time, payload []byte) {
	if len(record) < timeBytes {
		return time.Time{}, nil
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(record))), record[timeBytes:]
}

// reserve waits until need more bytes fit, and takes them.
func (s *Spool) reserve(ctx context.Context, need int64, critical bool) error {
	limit := s.maxBytes - s.maxBytes/reservedShare
	if critical {
		limit = s.maxBytes
	}
	if need > limit {
		return fmt.Errorf("%w: an event of %d bytes never fits into spool.max_bytes", limits.ErrTooLarge, need)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.log.Size()+s.reserved+need > limit {
		if s.log.First() <= s.position.settled() && s.log.Last() == s.position.settled() {
			// All is settled, and what is left stands in the last segment.
			if err := s.clear(); err != nil {
				return fmt.Errorf("make room for an event: %w", err)
			}
			continue
		}
		if err := s.waitForRoom(ctx); err != nil {
			return err
		}
	}
	s.reserved += need
	return nil
}

// clear gives back every segment. The caller holds mu, and nothing waits.
func (s *Spool) clear() error {
	if err := s.log.Rotate(); err != nil {
		return err
	}
	return s.log.Release(s.position.settled())
}

// waitForRoom returns when there may be more room. The caller holds mu, which is given
// up meanwhile.
func (s *Spool) waitForRoom(ctx context.Context) error {
	room := s.room
	s.blocked++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.blocked--
	}()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
	}
}

// wake lets those who wait for room look again. The caller holds mu.
func (s *Spool) wake() {
	close(s.room)
	s.room = make(chan struct{})
}

// Appended holds a signal after each Append, for one reader that then asks for a
// Batch.
func (s *Spool) Appended() <-chan struct{} { return s.appended }

func (s *Spool) pulse() {
	select {
	case s.appended <- struct{}{}:
	default:
	}
}

// Ack settles every number through the given one and gives back its space. Of those that
// the orchestrator answered to have refused, the Account says so.
func (s *Spool) Ack(through uint64, rejected ...uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := max(s.log.Last(), s.position.Base); through > last {
		return fmt.Errorf("acknowledge through %d: the newest number is %d", through, last)
	}
	if through <= s.position.Acked {
		return nil
	}
	next, before := s.position, s.position.settled()
	next.Acked = through
	counts := s.settle(s.ledger, before, next.settled(), rejected)
	counts.Last = s.log.Last()
	// The position is durable before the segments go, so that no number comes twice.
	if err := s.file.write(&next, counts); err != nil {
		return fmt.Errorf("acknowledge through %d: %w", through, err)
	}
	s.position, s.ledger = next, counts
	maps.DeleteFunc(s.aside, func(seq uint64, _ string) bool { return seq <= through })
	defer s.wake()
	if err := s.log.Release(s.position.settled()); err != nil {
		return fmt.Errorf("acknowledge through %d: %w", through, err)
	}
	return nil
}

// Stats looks at the spool now.
func (s *Spool) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.position.settled()+1, s.log.Last()
	out := Stats{Last: last, Bytes: s.log.Size(), Blocked: s.blocked, Dropped: maps.Clone(s.dropped), Account: s.account()}
	if last < first {
		return out, nil
	}
	out.Depth = last - first + 1
	err := s.log.Scan(first, func(_ uint64, record []byte) bool {
		out.Oldest, _ = split(record)
		return false
	})
	return out, err
}

// Close closes the spool; what waits is there when it is opened again. It may be
// called many times.
func (s *Spool) Close() error {
	s.closing.Do(func() { s.closed = errors.Join(s.log.Close(), s.file.file.Close()) })
	return s.closed
}
