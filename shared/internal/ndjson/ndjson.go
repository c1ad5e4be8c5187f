// Package ndjson reads newline-delimited JSON: one object a line, the framing of
// contract stdio and of the agent socket. It only finds the lines; what a line
// means is its caller's.
//
// Unlike limits.LineReader, which cuts a long line and goes on, this reader stops:
// in a protocol a line over the bound is the other side's fault, and one that never
// ends must be noticed before its end.
package ndjson

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/stavily/agents/internal/limits"
)

// keep is the largest buffer that is kept between lines: a plugin that once
// answered with a megabyte does not hold on to it.
const keep = 64 << 10

// Reader splits a stream into lines. It is not safe for concurrent use.
type Reader struct {
	r    *bufio.Reader
	max  int
	line []byte
}

// NewReader reads lines of at most max bytes, without their newline, from r.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 4096), max: max}
}

// Next returns the next line without "\n" or "\r\n"; the last one may lack it. A
// longer line is an error that wraps limits.ErrTooLarge, given as soon as the bound
// is passed; after an error the stream is not to be read further. The slice is
// valid until the next call.
func (r *Reader) Next() ([]byte, error) {
	if cap(r.line) > keep {
		r.line = nil
	}
	r.line = r.line[:0]
	for {
		chunk, err := r.r.ReadSlice('\n')
		r.line = append(r.line, chunk...)
		if len(r.line) > r.max+len("\r\n") {
			return nil, fmt.Errorf("line: %w: more than %d bytes", limits.ErrTooLarge, r.max)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil, errors.Is(err, io.EOF) && len(r.line) > 0:
			return r.finish()
		default:
			return nil, err
		}
	}
}

func (r *Reader) finish() ([]byte, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix(r.line, []byte("\n")), []byte("\r"))
	if len(line) > r.max {
		return nil, fmt.Errorf("line: %w: more than %d bytes", limits.ErrTooLarge, r.max)
	}
	return line, nil
}
