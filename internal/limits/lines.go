package limits

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// LineReader splits a stream into lines of bounded length. It is not safe for
// concurrent use.
type LineReader struct {
	r    *bufio.Reader
	max  int
	line []byte
}

// NewLineReader reads lines of at most max bytes from r.
func NewLineReader(r io.Reader, max int) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(r, 4096), max: max}
}

// Next returns the next line without its line ending ("\n" or "\r\n"). A longer
// line is returned cut to max bytes with cut set, and the rest of it is read and
// dropped. The last line may lack its newline; after it comes io.EOF. The slice
// is valid until the next call.
func (l *LineReader) Next() (line []byte, cut bool, err error) {
	l.line = l.line[:0]
	for {
		chunk, err := l.r.ReadSlice('\n')
		room := min(l.max+2-len(l.line), len(chunk)) // 2 for the line ending
		if room < len(chunk) {
			cut = true
		}
		l.line = append(l.line, chunk[:room]...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil:
			return l.finish(cut)
		case errors.Is(err, io.EOF) && len(l.line) > 0:
			return l.finish(cut)
		default:
			return nil, false, err
		}
	}
}

func (l *LineReader) finish(cut bool) ([]byte, bool, error) {
	line := l.line
	if !cut {
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	if len(line) > l.max {
		line, cut = line[:l.max], true
	}
	return line, cut, nil
}
