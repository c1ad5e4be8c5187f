// Package wal is a durable, append-only log of numbered records.
//
// It owns the file format, group commit and recovery. It does not know what a
// record means, which records are settled, or how much may be kept: package spool
// and package execution do.
//
// # Format
//
//	<dir>/00000000000000000001.wal      a segment; the name is its first number
//	  "stvwal\x00\x01"                  8 bytes, format and version
//	  [len u32][crc32c u32][seq u64][payload] …   little endian; the checksum
//	                                    covers length, number and payload
//
// Numbers rise by one from record to record, also over segments, and are never
// given out twice. A segment is complete when the next one exists, whose name says
// where it ended; a clean Close therefore begins the next segment.
//
// # Append
//
//	Append ─▶ joins the open group ─▶ its first member writes and fsyncs it ─▶ all return
//	              ▲ those who come during a flush form the next group
//
// One fsync is shared by all that wait at the same time, so that durable appends
// scale with concurrency while a lone one pays no delay.
//
// # Recovery and damage
//
// Open reads every segment. What is not a valid record is skipped to the next valid
// one whose number can follow, so damage costs only the records it touches:
//
//   - invalid bytes at the end of the last segment are a write that was cut short
//     and never confirmed: truncated, reported as Torn, no number lost;
//   - everything else (flipped bits, a cut or missing segment) is damage: the
//     missing numbers are in Lost, exactly; the segment is kept as *.bad, at most
//     [keptBad] of them, when its time to be removed comes.
//
// One case cannot be told apart: damage to the very last record, after a crash
// rather than after Close, looks like a torn write. A caller to whom that matters
// treats Torn as possible loss.
//
// # Failure
//
// A write that fails (disk full) is undone, its callers get the error, and the log
// goes on when there is room again. When an fsync or the undoing fails the outcome
// is unknown: the record may be there after a restart. The log then refuses every
// further write with [ErrBroken]; the process ends and recovers by reopening.
//
// # Invariants
//
//   - A record whose Append returned nil is read again after kill -9 or power loss.
//   - Scan yields only such records, verified, in rising order; a jump in the
//     numbers is a loss, never a reordering.
//   - Open, Scan and Append never panic on any content of the files (fuzzed).
//
// All methods may be called concurrently. There is no goroutine. To look into a
// segment: `xxd`, or `strings`, as payloads are JSON.
package wal
