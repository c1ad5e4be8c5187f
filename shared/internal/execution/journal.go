package execution

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/wal"
	"github.com/stavily/agents/shared/pkg/api"
)

// Options of a journal. The zero value is usable.
type Options struct {
	Retention time.Duration    // how long reported attempts are remembered, in time that the journal is open; 0: 30 days
	Now       func() time.Time // nil: time.Now
}

const (
	defaultRetention = 30 * 24 * time.Hour

	// maxRemembered bounds the memory: an attempt takes about 200 bytes here and on
	// disk, so this many take 20 MB each. An agent that runs one a minute needs 43,200.
	maxRemembered = 100_000

	// compactAbove is the size of the log at which it is written anew, if half of it
	// or more is not needed any longer.
	compactAbove = 4 << 20

	// tidyAgain is how long after a failure that is tried again: it writes up to all there is.
	tidyAgain = time.Minute
)

// Journal remembers attempts. See the package documentation.
type Journal struct {
	retention time.Duration
	now       func() time.Time
	opened    time.Time // for its monotonic part
	log       *wal.Log

	mu      sync.Mutex // guards the fields below, and keeps records in the order of their effects
	entries map[Key]Entry
	waiting map[Key]struct{} // those whose results wait: few of up to maxRemembered
	before  time.Duration    // that the journal had been open when it was opened, as its records say
	live    int64            // size of the log after it was last written anew
	counts  Account

	tidyFrom time.Time // not before; zero: whenever it is worth it
}

// Open reads the journal in dir, which is made when it is missing, and ends what a
// former process left open: those attempts are then Unreported as interrupted.
// damage says what could not be read back, for people; it is empty when all could. A disk
// without room is no error: the journal says what it would say, and is written later.
func Open(dir string, o Options) (j *Journal, damage string, err error) {
	j = &Journal{retention: cmp.Or(o.Retention, defaultRetention), now: o.Now, opened: time.Now(), entries: map[Key]Entry{}, waiting: map[Key]struct{}{}}
	if j.now == nil {
		j.now = time.Now
	}
	log, found, err := wal.Open(dir, wal.Options{})
	if err != nil {
		return nil, "", fmt.Errorf("open the journal: %w", err)
	}
	j.log = log
	bad := 0
	err = log.Scan(log.First(), func(_ uint64, payload []byte) bool {
		bad += j.replay(payload)
		return true
	})
	if err == nil {
		// A torn record was never confirmed, unless it is the last one, damaged since.
		j.counts.Inherited = uint64(len(j.Unreported()))
		err = j.restart(bad > 0 || len(found.Lost) > 0 || found.Torn > 0)
	}
	if err != nil {
		log.Close()
		return nil, "", fmt.Errorf("open the journal: %w", err)
	}
	if bad > 0 || len(found.Lost) > 0 {
		damage = fmt.Sprintf("the journal in %s is damaged: %d records cannot be read and numbers %v are lost; what they said is not known any more", dir, bad, found.Lost)
	}
	return j, damage, nil
}

// recordDepth is how deep a record nests at most: a result, whose data may have been as deep as
// any document, in an entry in a list.
const recordDepth = limits.MaxDepth + 3

// replay takes a record back, which is a list of entries, and returns how many of
// them mean nothing.
func (j *Journal) replay(payload []byte) (bad int) {
	var entries []Entry
	if err := limits.UnmarshalNested(payload, &entries, recordDepth); err != nil {
		return 1
	}
	for _, e := range entries {
		if !j.take(e) {
			bad++
		}
	}
	return bad
}

// take puts one entry back and reports whether it is whole. It holds the attempt's
// state but for the instruction and result, which may stand in an earlier record. When
// that is lost the attempt still counts: it must not run again, and has to be reported.
func (j *Journal) take(e Entry) (whole bool) {
	if e.ID.Validate() != nil || !slices.Contains([]Phase{Accepted, Started, Ended, Reported}, e.Phase) {
		return false
	}
	j.before = max(j.before, e.Lived)
	whole = true
	if e.Phase != Reported {
		old := j.entries[e.Key]
		e.Instruction = cmp.Or(e.Instruction, old.Instruction)
		e.Result = cmp.Or(e.Result, old.Result)
		if e.Instruction == nil {
			e.Instruction, whole = &api.Instruction{ID: e.ID, Attempt: e.Attempt}, false
		}
		if e.Phase == Ended && e.Result == nil {
			e.Phase, e.Ran, whole = Started, true, false
		}
	}
	j.put(e.Key, e)
	return whole
}

// put remembers the state of an attempt. The caller holds mu.
func (j *Journal) put(key Key, e Entry) {
	j.entries[key] = e
	if e.Phase == Ended {
		j.waiting[key] = struct{}{}
	} else {
		delete(j.waiting, key)
	}
}

// restart ends what a former process left open, and writes the log anew. A disk without room is
// no error: what this process ends and cannot record the next one ends in the same way, and the
// log is written anew when there is room.
func (j *Journal) restart(damaged bool) error {
	for _, key := range slices.Collect(maps.Keys(j.entries)) {
		if p := j.entries[key].Phase; p != Accepted && p != Started {
			continue
		}
		if err := j.step(key, Restart{damaged}); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.compact()
	if diskspace.Full(err) && !errors.Is(err, wal.ErrBroken) {
		j.tidyFrom = j.now().Add(tidyAgain)
		return nil
	}
	return err
}

// Accept records an offer before it is claimed.
func (j *Journal) Accept(i api.Instruction) error {
	return j.step(Key{i.ID, i.Attempt}, Accept{i})
}

// Starting records that the plugin is about to be started.
func (j *Journal) Starting(id api.InstructionID, attempt int) error {
	return j.step(Key{id, attempt}, Start{})
}

// Ended records the result, which is then Unreported.
func (j *Journal) Ended(id api.InstructionID, attempt int, r api.Result) error {
	return j.step(Key{id, attempt}, End{r})
}

// Reported records that the orchestrator has had its last word on the attempt.
func (j *Journal) Reported(id api.InstructionID, attempt int) error {
	return j.step(Key{id, attempt}, Report{})
}

// Again records that an attempt that may have run, and of which the orchestrator has had the
// last word, is offered under another lease: that it may have run is then Unreported once more,
// under that one. Any other attempt stays as it is.
func (j *Journal) Again(i api.Instruction) error {
	key := Key{i.ID, i.Attempt}
	j.mu.Lock()
	e := j.entries[key]
	j.mu.Unlock()
	if e.Phase != Reported || !e.Ran {
		return nil
	}
	return j.step(key, Again{i})
}

// Seen reports whether the attempt runs, waits to be reported, or may have run, as far
// as it is remembered. Accept takes it otherwise.
func (j *Journal) Seen(id api.InstructionID, attempt int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[Key{id, attempt}].Seen()
}

// Unreported lists the attempts whose results wait to be acknowledged, the oldest
// first. Their instruction and result are set and must not be changed.
func (j *Journal) Unreported() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Entry, 0, len(j.waiting))
	for key := range j.waiting {
		out = append(out, j.entries[key])
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Attempt, b.Attempt))
	})
	return out
}

// Close closes the log.
func (j *Journal) Close() error { return j.log.Close() }

// step takes one transition: first on disk, then in memory.
func (j *Journal) step(key Key, in Input) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	old := j.entries[key]
	old.Key = key
	next, err := Step(old, in, j.now())
	if err != nil {
		return err
	}
	next.Lived = j.lived()
	record := next
	if old.Instruction != nil { // the record of Accept or Again brought it
		record.Instruction = nil
	}
	err = failpoint.At("journal.before", string(next.Phase))
	if err == nil {
		err = j.append([]Entry{record})
	}
	if _, restarts := in.(Restart); restarts && diskspace.Full(err) && !errors.Is(err, wal.ErrBroken) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("journal attempt %d of instruction %s as %s: %w", key.Attempt, key.ID, next.Phase, err)
	}
	j.put(key, next)
	j.counts.count(old.Phase, next.Phase)
	_ = failpoint.At("journal.after", string(next.Phase)) // no error: it is in memory too
	return j.tidy()
}

// tidy writes the log anew when that is worth it. The step before it is durable whether that
// succeeds or not, and who is told that it failed would take it again: only a log whose state
// is unknown is an error. On a disk without room it is tried again later.
func (j *Journal) tidy() error {
	if j.log.Size() <= compactAbove || j.log.Size() <= 2*j.live || j.now().Before(j.tidyFrom) {
		return nil
	}
	err := j.compact()
	if errors.Is(err, wal.ErrBroken) {
		return err
	}
	if err != nil {
		j.tidyFrom = j.now().Add(tidyAgain)
	}
	return nil
}

func (j *Journal) append(entries []Entry) error {
	payload, err := api.Marshal(entries)
	if err == nil {
		_, err = j.log.Append(payload)
	}
	return err
}

// compact forgets what is too old and writes the rest anew, then gives the old
// segments back. A crash in between leaves both, which says the same twice. The
// caller holds mu.
func (j *Journal) compact() error {
	j.forget()
	if err := failpoint.Hit("journal.compact.before"); err != nil {
		return fmt.Errorf("compact the journal: %w", err)
	}
	before := j.log.Last()
	if err := j.log.Rotate(); err != nil {
		return fmt.Errorf("compact the journal: %w", err)
	}
	if err := j.rewrite(); err != nil {
		return fmt.Errorf("compact the journal: %w", err)
	}
	if err := errors.Join(failpoint.Hit("journal.compact.written"), j.log.Release(before), failpoint.Hit("journal.compact.released")); err != nil {
		return fmt.Errorf("compact the journal: %w", err)
	}
	j.live = j.log.Size()
	return nil
}

// rewriteGroup is how many remembered attempts share a record, and so an fsync. Those
// with an instruction and result, which may have a megabyte, have one of their own.
const rewriteGroup = 500

func (j *Journal) rewrite() error {
	var group []Entry
	for _, e := range j.entries {
		if e.Phase != Reported {
			if err := j.append([]Entry{e}); err != nil {
				return err
			}
			continue
		}
		if group = append(group, e); len(group) == rewriteGroup {
			if err := j.append(group); err != nil {
				return err
			}
			group = nil
		}
	}
	if len(group) == 0 {
		return nil
	}
	return j.append(group)
}

// lived is how long the journal has been open, over all processes: their monotonic clocks, as far
// as records came after.
func (j *Journal) lived() time.Duration { return j.before + time.Since(j.opened) }

// forget drops reported attempts beyond the retention and the bound. Their age is what the
// journal has lived since: a host that boots in 1970, or ten years ahead, and is put right later
// makes it forget nothing, and what it was told meanwhile is as old as it is. Time in which no
// agent ran does not count, so that some are remembered for longer.
func (j *Journal) forget() {
	var reported []Entry
	for key, e := range j.entries {
		switch {
		case e.Phase != Reported:
		case j.lived()-e.Lived > j.retention:
			delete(j.entries, key)
		default:
			reported = append(reported, e)
		}
	}
	if over := len(reported) - maxRemembered; over > 0 {
		slices.SortFunc(reported, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Lived, b.Lived), a.At.Compare(b.At)) })
		for _, e := range reported[:over] {
			delete(j.entries, e.Key)
		}
	}
}
