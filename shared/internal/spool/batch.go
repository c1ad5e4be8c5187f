package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/shared/pkg/api"
)

// Reasons of gaps.
const (
	ReasonCorrupt = "corrupt" // damaged on disk
	ReasonRefused = "refused" // the orchestrator would not take it
	ReasonRenewed = "renewed" // settled under an earlier epoch; Count is 0
)

// keptRefused bounds the events that are kept for a person to look at.
const keptRefused = 32

// Record is one event with its number.
type Record struct {
	Seq     uint64
	Payload []byte
}

// Batch is what is to be sent next: every number from the first unsettled one
// through Through is a record or in a gap.
type Batch struct {
	Epoch   string
	Records []Record
	Gaps    []api.Gap
	Through uint64 // 0 when there is nothing to send
}

// Items is the number of records and gaps.
func (b Batch) Items() int { return len(b.Records) + len(b.Gaps) }

// Batch reads the next batch: at most maxItems (at least 1) records and gaps, and
// at most maxBytes of payload, but one record whatever its size.
func (s *Spool) Batch(maxItems, maxBytes int) (Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := packer{next: s.position.Acked + 1, maxItems: max(maxItems, 1), maxBytes: maxBytes}
	p.out.Epoch = s.position.epoch()
	if p.next <= s.position.Base {
		p.gap(s.position.Base, 0, ReasonRenewed)
	}
	last := s.log.Last()
	full := false
	err := s.log.Scan(p.next, func(seq uint64, record []byte) bool {
		_, payload := split(record)
		full = !p.pack(seq, payload, s.aside[seq])
		return !full
	})
	if err != nil {
		return Batch{}, fmt.Errorf("read spool: %w", err)
	}
	if !full && p.next <= last && p.hasRoom() {
		p.lost(last)
	}
	s.count(p.out.Gaps)
	s.hand(p.out)
	return p.out, nil
}

// count adds gaps of damaged numbers to the statistics, each once.
func (s *Spool) count(gaps []api.Gap) {
	for _, g := range gaps {
		if g.Reason == ReasonCorrupt && g.To > s.counted {
			s.dropped[ReasonCorrupt] += g.To - max(g.From-1, s.counted)
			s.counted = g.To
		}
	}
}

// packer fills a batch in the order of the numbers.
type packer struct {
	out                       Batch
	next                      uint64 // first number that is not in it yet
	bytes, maxItems, maxBytes int
}

func (p *packer) hasRoom() bool { return p.out.Items() < p.maxItems }

// pack adds record seq, or a gap for it when there is a reason not to send it, and
// before it one for the numbers that are missing. It returns false when it is full.
func (p *packer) pack(seq uint64, payload []byte, aside string) bool {
	if seq > p.next && p.hasRoom() {
		p.lost(seq - 1)
	}
	if !p.hasRoom() {
		return false
	}
	if aside != "" {
		p.gap(seq, 1, aside)
		return true
	}
	if len(p.out.Records) > 0 && p.bytes+len(payload) > p.maxBytes {
		return false
	}
	p.bytes += len(payload)
	p.out.Records = append(p.out.Records, Record{seq, bytes.Clone(payload)})
	p.out.Through, p.next = seq, seq+1
	return true
}

func (p *packer) lost(through uint64) { p.gap(through, through-p.next+1, ReasonCorrupt) }

func (p *packer) gap(through, count uint64, reason string) {
	p.out.Gaps = append(p.out.Gaps, api.Gap{From: p.next, To: through, Count: count, Reason: reason})
	p.out.Through, p.next = through, through+1
}

// SetAside takes event seq out of the stream: from now on it is a gap with the given
// reason. Its bytes are kept in refused/ for a person, if they can be; a disk too full
// for that must not stop the stream. It is not remembered over a restart, after which
// the orchestrator decides anew.
func (s *Spool) SetAside(seq uint64, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.position.settled() || seq > s.log.Last() {
		return fmt.Errorf("set event %d aside: it does not wait", seq)
	}
	if s.aside[seq] != "" {
		return nil
	}
	s.aside[seq] = reason
	s.dropped[reason]++
	return s.log.Scan(seq, func(found uint64, record []byte) bool {
		if found == seq {
			_, payload := split(record)
			_ = s.keep(seq, payload)
		}
		return false
	})
}

// keep writes a refused event to a file of its own and removes the oldest ones.
func (s *Spool) keep(seq uint64, payload []byte) error {
	dir := filepath.Join(s.dir, "refused")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, fmt.Sprintf("%020d.json", seq)), payload, 0o600); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries[:max(0, len(entries)-keptRefused)] { // sorted by number
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}
