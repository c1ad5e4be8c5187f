package limits

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadAllHoldsItsBound(t *testing.T) {
	if b, err := ReadAll(strings.NewReader("12345"), 5); err != nil || string(b) != "12345" {
		t.Fatalf("ReadAll at the bound = %q, %v", b, err)
	}
	if _, err := ReadAll(strings.NewReader("123456"), 5); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("ReadAll over the bound: err = %v, want ErrTooLarge", err)
	}
}

// endless never ends: a bound that is only checked afterwards would never return.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

// TestReadAboutBelievesNoSize reads what comes, whatever was announced, and keeps no place for
// more than a little.
func TestReadAboutBelievesNoSize(t *testing.T) {
	for _, size := range []int64{-1, 0, 3, 5, 1 << 40} {
		b, err := ReadAbout(strings.NewReader("12345"), size, 1<<41)
		if err != nil || string(b) != "12345" || cap(b) > 2*mostAtOnce {
			t.Errorf("announced as %d: %q in a place of %d, %v", size, b, cap(b), err)
		}
		if _, err := ReadAbout(strings.NewReader("123456"), size, 5); !errors.Is(err, ErrTooLarge) {
			t.Errorf("announced as %d, over the bound: %v, want ErrTooLarge", size, err)
		}
	}
}

func TestEndlessInput(t *testing.T) {
	if err := DecodeJSON(endless{}, 1<<20, new(any)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("DecodeJSON: err = %v, want ErrTooLarge", err)
	}
	line, cut, err := NewLineReader(io.LimitReader(endless{}, 8<<20), 100).Next()
	if len(line) != 100 || !cut || err != nil {
		t.Errorf("Next = %d bytes, cut %v, %v; want 100 bytes, cut", len(line), cut, err)
	}
}

func TestReadFileRefusesWhatIsNotAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(dir, 10); err == nil {
		t.Error("a directory was read")
	}
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, 5); err != nil || string(b) != "hello" {
		t.Errorf("ReadFile = %q, %v", b, err)
	}
	if _, err := ReadFile(path, 4); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), path) {
		t.Errorf("ReadFile over the bound: err = %v, want ErrTooLarge naming the file", err)
	}
}

func TestReadFileInStaysInside(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip("no symlinks here: ", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if b, err := ReadFileIn(root, "link", 10); err == nil {
		t.Errorf("a link out of the root was read: %q", b)
	}
}

func TestGunzipBomb(t *testing.T) {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := io.CopyN(zw, endless{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	zw.Close()
	if _, err := Gunzip(&buf, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Gunzip of %d bytes that expand to 64 MiB: err = %v, want ErrTooLarge", buf.Len(), err)
	}
}

func TestLines(t *testing.T) {
	type line struct {
		Text string
		Cut  bool
	}
	long := strings.Repeat("x", 5000)
	in := "one\r\n\ntoolong\nexact\n" + long + "\nlast"
	want := []line{{"one", false}, {"", false}, {"toolo", true}, {"exact", false}, {"xxxxx", true}, {"last", false}}
	var got []line
	r := NewLineReader(strings.NewReader(in), 5)
	for {
		b, cut, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line{string(b), cut})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestUnmarshalJSON(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1)
	for _, c := range []struct{ in, want string }{
		{`{"a":1}`, ""},
		{`{"a":"` + strings.Repeat("[", 200) + `"}`, ""},
		{`{"a":"\"[[["}`, ""},
		{`{"a":1}{}`, "data after the document"},
		{`{"a":`, "in the middle of a document"},
		{`{"a":x}`, "invalid JSON at byte 6"},
		{deep, "nested deeper than 64"},
	} {
		var v any
		err := UnmarshalJSON([]byte(c.in), &v)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("UnmarshalJSON(%.40q): %v", c.in, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("UnmarshalJSON(%.40q): err = %v, want %q", c.in, err, c.want)
		}
	}
	var typed struct{ N int }
	if err := UnmarshalJSON([]byte(`{"N":"x"}`), &typed); err == nil || !strings.Contains(err.Error(), "N: want int, got string") {
		t.Errorf("wrong type: err = %v", err)
	}
}

func TestDepth(t *testing.T) {
	for in, want := range map[string]int{``: 0, `1`: 0, `"[[["`: 0, `[]`: 1, `{"a":[1,{"b":"]"}],"c":[]}`: 3} {
		if got := Depth([]byte(in)); got != want {
			t.Errorf("Depth(%s) = %d, want %d", in, got, want)
		}
		for depth := range 5 {
			var v any
			if err := UnmarshalNested([]byte(in), &v, depth); in != "" && (err == nil) != (want <= depth) {
				t.Errorf("UnmarshalNested(%s, %d): %v", in, depth, err)
			}
		}
	}
}

func TestBufferKeepsTheFirst(t *testing.T) {
	b := NewBuffer(5)
	for range 3 {
		if n, err := b.Write([]byte("abc")); n != 3 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if got := string(b.Bytes()); got != "abcab" || b.Dropped() != 4 {
		t.Errorf("kept %q and dropped %d, want abcab and 4", got, b.Dropped())
	}
}

func FuzzUnmarshalJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"\u0000",{}]}`))
	f.Add([]byte(`"\`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if err := UnmarshalJSON(b, &v); err == nil && !json.Valid(b) {
			t.Errorf("accepted invalid JSON %q", b)
		}
	})
}
