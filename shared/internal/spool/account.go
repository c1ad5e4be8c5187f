package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// Account says what became of the events of a spool since it was made, or since its
// position was last damaged.
type Account struct {
	Taken     uint64 `json:"taken"`     // stored here
	Delivered uint64 `json:"delivered"` // sent, and acknowledged
	Rejected  uint64 `json:"rejected"`  // sent, and refused by the answer
	Refused   uint64 `json:"refused"`   // set aside here
	Corrupt   uint64 `json:"corrupt"`   // damaged on disk
	Unseen    uint64 `json:"unseen"`    // acknowledged, sent by a process that ended before the answer came
	Waiting   uint64 `json:"waiting"`
}

// Unaccounted is how many events there are of which nothing says what became, or with a
// minus how many are counted twice: 0, or this program has a fault.
func (a Account) Unaccounted() int64 {
	return int64(a.Taken - a.Delivered - a.Rejected - a.Refused - a.Corrupt - a.Unseen - a.Waiting)
}

// ledger is what the position keeps of the Account.
type ledger struct {
	Begun     uint64 // numbers up to here are not counted
	Last      uint64 // newest number that was on disk when this was written
	Cut       uint64 // events that were on disk and are not any more, whose numbers were given out again
	Delivered uint64
	Rejected  uint64
	Refused   uint64
	Corrupt   uint64
	Unseen    uint64
}

const ledgerBytes = 8*8 + 4

func (l ledger) encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, l) // fixed size: cannot fail
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeLedger(b []byte) (l ledger, ok bool) {
	body, sum := b[:ledgerBytes-4], b[ledgerBytes-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(sum) {
		return ledger{}, false
	}
	err := binary.Read(bytes.NewReader(body), binary.LittleEndian, &l)
	return l, err == nil
}

// run is numbers through To, from behind the run before on, of the batches that were
// given out: as records, or as damaged.
type run struct {
	to      uint64
	corrupt bool
}

// hand remembers what a batch gives out of each number. It begins with the first number
// that is not settled; what longer batches had beyond its end still holds.
func (s *Spool) hand(b Batch) {
	if b.Through == 0 {
		return
	}
	var runs []run
	for _, g := range b.Gaps {
		if g.Reason != ReasonCorrupt || g.Count == 0 {
			continue
		}
		if g.From > 1 {
			runs = append(runs, run{g.From - 1, false})
		}
		runs = append(runs, run{g.To, true})
	}
	runs = append(runs, run{b.Through, false})
	beyond := slices.IndexFunc(s.handed, func(r run) bool { return r.to > b.Through })
	if beyond >= 0 {
		runs = append(runs, s.handed[beyond:]...)
	}
	s.handed = runs
}

// settle counts what becomes of the numbers behind from through the last one. The
// caller holds mu.
func (s *Spool) settle(l ledger, from, through uint64, rejected []uint64) ledger {
	at := from
	for _, r := range s.handed {
		if end := min(r.to, through); end > at {
			*l.of(r, true) += end - at
			at = end
		}
	}
	if at < through {
		l.Unseen += through - at
	}
	move := func(seq uint64, to *uint64) {
		if seq <= from || seq > through {
			return
		}
		r, handed := s.fate(seq)
		if !r.corrupt {
			*l.of(r, handed)--
			*to++
		}
	}
	for seq, reason := range s.aside {
		if reason == ReasonCorrupt {
			move(seq, &l.Corrupt)
		} else {
			move(seq, &l.Refused)
		}
	}
	slices.Sort(rejected)
	for _, seq := range slices.Compact(rejected) {
		if s.aside[seq] == "" {
			move(seq, &l.Rejected)
		}
	}
	return l
}

func (l *ledger) of(r run, handed bool) *uint64 {
	switch {
	case !handed:
		return &l.Unseen
	case r.corrupt:
		return &l.Corrupt
	}
	return &l.Delivered
}

// fate is the run that a number was given out in.
func (s *Spool) fate(seq uint64) (r run, handed bool) {
	i := slices.IndexFunc(s.handed, func(r run) bool { return r.to >= seq })
	if i < 0 {
		return run{}, false
	}
	return s.handed[i], true
}

// Account is what became of the events up to now.
func (s *Spool) Account() Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account()
}

// account is the Account now. The caller holds mu.
func (s *Spool) account() Account {
	l, last := s.ledger, max(s.log.Last(), s.position.settled())
	return Account{
		Taken: last - l.Begun + l.Cut, Delivered: l.Delivered, Rejected: l.Rejected, Refused: l.Refused,
		Corrupt: l.Corrupt + l.Cut, Unseen: l.Unseen, Waiting: last - s.position.settled(),
	}
}
