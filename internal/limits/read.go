package limits

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrTooLarge is wrapped by every error that says a bound was exceeded.
var ErrTooLarge = errors.New("too large")

// ReadAll reads r to its end. With more than max bytes it returns an error that
// wraps ErrTooLarge, having taken at most max+1 bytes of memory for data.
func ReadAll(r io.Reader, max int64) ([]byte, error) {
	return ReadAbout(r, 0, max)
}

// mostAtOnce bounds what is kept ready for bytes that were only announced.
const mostAtOnce = 8 << 10

// ReadAbout is ReadAll where size bytes are said to come, of which a few thousand get their
// place at once.
func ReadAbout(r io.Reader, size, max int64) ([]byte, error) {
	var buf bytes.Buffer
	if size > 0 {
		buf.Grow(int(min(size, mostAtOnce)) + bytes.MinRead) // else the end is looked for in a larger one
	}
	n, err := io.Copy(&buf, io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if n > max {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, max)
	}
	return buf.Bytes(), nil
}

// ReadFile reads a regular file of at most max bytes. It never blocks on a FIFO
// and refuses devices, sockets and directories; a symlink is followed.
func ReadFile(path string, max int64) ([]byte, error) {
	f, err := openNonblock(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f, path, max)
}

// ReadFileIn is ReadFile below an os.Root, for trees that somebody else wrote: no
// symlink can lead out of the root.
func ReadFileIn(root *os.Root, name string, max int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f, name, max)
}

func readRegular(f *os.File, path string, max int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file (%s)", path, info.Mode().Type())
	}
	b, err := ReadAll(f, max)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// Gunzip expands one gzip stream (RFC 1952) to at most max bytes.
func Gunzip(r io.Reader, max int64) ([]byte, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer zr.Close()
	return ReadAll(zr, max)
}

// Buffer is a writer that keeps the first max bytes and counts the rest. It is
// safe for concurrent use, and its Write never fails, so that a child process
// that floods is never blocked by it.
type Buffer struct {
	max int

	mu      sync.Mutex // guards the fields below
	kept    []byte
	dropped int64
}

// NewBuffer makes a buffer that keeps max bytes.
func NewBuffer(max int) *Buffer { return &Buffer{max: max} }

// Write keeps what fits and reports all of p as written.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := min(b.max-len(b.kept), len(p))
	b.kept = append(b.kept, p[:room]...)
	b.dropped += int64(len(p) - room)
	return len(p), nil
}

// Bytes returns a copy of what was kept.
func (b *Buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.kept)
}

// Dropped returns how many bytes were not kept.
func (b *Buffer) Dropped() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
