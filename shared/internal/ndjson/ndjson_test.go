package ndjson

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/limits"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
		r := NewReader(wrap(strings.NewReader("{}\r\n\n"+long+"\nlast")), 10_000)
		var got []string
		for {
			line, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(line))
		}
		if diff := cmp.Diff([]string{"{}", "", long, "last"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// flood never ends and has no newline.
type flood struct{ read int }

func (f *flood) Read(p []byte) (int, error) {
	f.read += len(p)
	return len(p), nil
}

func TestALineThatNeverEndsIsNoticed(t *testing.T) {
	var f flood
	_, err := NewReader(&f, 1000).Next()
	if !errors.Is(err, limits.ErrTooLarge) || f.read > 8192 {
		t.Errorf("err = %v after %d bytes; want ErrTooLarge after a few thousand", err, f.read)
	}
	for in, max := range map[string]int{"12345\n": 4, "12345": 4, "12345\r\n": 4} {
		if line, err := NewReader(strings.NewReader(in), max).Next(); !errors.Is(err, limits.ErrTooLarge) {
			t.Errorf("%q with at most %d = %q, %v", in, max, line, err)
		}
	}
}
