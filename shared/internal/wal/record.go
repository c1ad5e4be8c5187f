package wal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	magic      = "stvwal\x00\x01"
	headerSize = 16 // length, checksum, number
)

// castagnoli has hardware support on amd64 and arm64 and detects every burst of
// up to 32 bits.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord adds a record to b that is complete but for its number, which
// [number] sets, and its checksum, which depends on it.
func appendRecord(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, make([]byte, headerSize-4)...)
	return append(b, payload...)
}

// number gives the records in b, made by appendRecord, the numbers from first on.
// It calls visit with the offset and number of each.
func number(b []byte, first uint64, visit func(off int, seq uint64)) {
	for off, seq := 0, first; off < len(b); seq++ {
		end := off + headerSize + int(binary.LittleEndian.Uint32(b[off:]))
		binary.LittleEndian.PutUint64(b[off+8:], seq)
		binary.LittleEndian.PutUint32(b[off+4:], checksum(b[off:end]))
		visit(off, seq)
		off = end
	}
}

func checksum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[:4], castagnoli), castagnoli, record[8:])
}

// parse reads the record at the beginning of b when it is whole, its checksum
// holds and its number is in [first, last].
func parse(b []byte, first, last uint64) (seq uint64, payload []byte, ok bool) {
	if len(b) < headerSize {
		return 0, nil, false
	}
	size := int64(binary.LittleEndian.Uint32(b))
	seq = binary.LittleEndian.Uint64(b[8:])
	if size > int64(len(b)-headerSize) || seq < first || seq > last {
		return 0, nil, false
	}
	record := b[:headerSize+size]
	if checksum(record) != binary.LittleEndian.Uint32(b[4:]) {
		return 0, nil, false
	}
	return seq, record[headerSize:], true
}

// walk calls visit for the valid records in b, of which the first should have the
// number first and none is above last, until visit returns false. It returns the
// offset after the last valid record and how many bytes before it belong to none.
//
// After invalid bytes it tries every offset. A record found so must have a number
// that the skipped bytes leave room for; without damage there is exactly one. That
// keeps the cost linear and bytes inside a damaged payload from posing as records.
func walk(b []byte, first, last uint64, visit func(off int, seq uint64, payload []byte) bool) (end, bad int) {
	for off := 0; len(b)-off >= headerSize; {
		room := uint64(off-end) / headerSize // records that may have stood there
		seq, payload, ok := parse(b[off:], first, min(first+room, last))
		if !ok {
			off++
			continue
		}
		bad += off - end
		if !visit(off, seq, payload) {
			return end, bad
		}
		off += headerSize + len(payload)
		end, first = off, seq+1
	}
	return end, bad
}
