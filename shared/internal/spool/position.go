package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
)

// position is how far a stream is settled.
type position struct {
	Epoch      [16]byte
	Acked      uint64 // every number up to here is settled
	Base       uint64 // every number up to here was settled under an earlier epoch
	Generation uint64 // of this record; the higher one counts
}

// record is a position and the ledger that belongs to it.
type record struct {
	position
	ledger
	counted bool // there is a ledger
}

// settled is the number up to which nothing is left to deliver.
func (p position) settled() uint64 { return max(p.Acked, p.Base) }

// epoch is the name of the stream on the wire.
func (p position) epoch() string { return hex.EncodeToString(p.Epoch[:]) }

// renewed is the position that goes on from p under a new epoch.
func (p position) renewed() position {
	next := position{Base: p.settled(), Generation: p.Generation}
	rand.Read(next.Epoch[:]) // never fails (crypto/rand)
	return next
}

const (
	// slotDistance puts the two copies of the position into different blocks of
	// the disk, so that a torn or worn one costs at most one of them.
	slotDistance = 4096
	slotBytes    = 16 + 3*8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p position) encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, p) // fixed size: cannot fail
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads one slot. The checksum of an empty slot does not hold.
func decode(slot []byte) (p position, ok bool) {
	body, sum := slot[:slotBytes-4], slot[slotBytes-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(sum) {
		return position{}, false
	}
	err := binary.Read(bytes.NewReader(body), binary.LittleEndian, &p)
	return p, err == nil
}

// positionFile keeps the newest position in one of two slots and the one before in
// the other.
type positionFile struct{ file *os.File }

// openPosition opens or makes the file and reads the newest position in it. ok is
// false when it holds none.
func openPosition(path string) (pf positionFile, p record, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return pf, p, false, err
	}
	for i := range int64(2) {
		slot := make([]byte, slotBytes+ledgerBytes)
		if n, _ := f.ReadAt(slot, i*slotDistance); n < slotBytes {
			clear(slot) // too short, or a bad sector: the other slot counts
		}
		q, valid := decode(slot[:slotBytes])
		if valid && (!ok || q.Generation > p.Generation) {
			p.position, ok = q, true
			p.ledger, p.counted = decodeLedger(slot[slotBytes:])
		}
		if !valid {
			// The slot takes its place on the disk now, so that an acknowledgement needs no
			// room later. When that fails, writing a position will say so.
			_, _ = f.WriteAt(make([]byte, len(slot)), i*slotDistance)
		}
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return pf, p, false, err
	}
	return positionFile{f}, p, ok, nil
}

// write makes p and l durable in the slot that does not hold the newest position. It
// sets the generation of p.
func (pf positionFile) write(p *position, l ledger) error {
	next := *p
	next.Generation++
	if err := failpoint.Hit("position.before"); err != nil {
		return err
	}
	if _, err := pf.file.WriteAt(append(next.encode(), l.encode()...), int64(next.Generation%2)*slotDistance); err != nil {
		return err
	}
	if err := errors.Join(failpoint.Hit("position.written"), pf.file.Sync(), failpoint.Hit("position.synced")); err != nil {
		return err
	}
	*p = next
	return nil
}
