package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var epoch = time.Unix(0, 0)

// prevOf is the hash of the record before, as a line has it.
func prevOf(line []byte) []byte {
	_, rest, _ := bytes.Cut(line, []byte(`"prev":"`))
	return rest[:hashLength]
}

// TestVerifyNamesWhatWasDone holds S16: whatever is done to a file is found, and where.
func TestVerifyNamesWhatWasDone(t *testing.T) {
	source := filepath.Join(t.TempDir(), "audit.log")
	write(t, source, 8)
	whole := bytes.SplitAfter(read(t, source), []byte("\n"))[:8]
	for name, c := range map[string]struct {
		do   func(lines [][]byte) [][]byte
		line int
		what string
	}{
		"edited":             {func(l [][]byte) [][]byte { l[3] = bytes.Replace(l[3], []byte(`"n":3`), []byte(`"n":7`), 1); return l }, 4, "record 4 was edited"},
		"edited in its kind": {func(l [][]byte) [][]byte { l[7] = bytes.Replace(l[7], []byte("tested"), []byte("teased"), 1); return l }, 8, "record 8 was edited"},
		"edited and rehashed": {func(l [][]byte) [][]byte {
			l[3], _ = appendLine(nil, Head{3, string(prevOf(l[3]))}, epoch, "forged", []byte("{}"))
			return l
		}, 5, "record 5 does not follow"},
		"last replaced": {func(l [][]byte) [][]byte {
			l[7], _ = appendLine(nil, Head{7, string(prevOf(l[7]))}, epoch, "forged", []byte("{}"))
			return l
		}, 8, "record 8 is not the one that"},
		"removed":        {func(l [][]byte) [][]byte { return append(l[:3:3], l[4:]...) }, 4, "record 4 is not where it was"},
		"three removed":  {func(l [][]byte) [][]byte { return append(l[:3:3], l[6:]...) }, 4, "records 4 to 6 are not where"},
		"swapped":        {func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, 4, "record 4 is not where it was"},
		"moved to front": {func(l [][]byte) [][]byte { return append([][]byte{l[5]}, append(l[:5:5], l[6:]...)...) }, 2, "record 1 stands behind record 6"},
		"repeated":       {func(l [][]byte) [][]byte { return append(l[:4:4], l[3:]...) }, 5, "record 4 stands behind record 4"},
		"put between":    {func(l [][]byte) [][]byte { return append(l[:4:4], append([][]byte{[]byte("hello\n")}, l[4:]...)...) }, 5, "is no record"},
		"end removed":    {func(l [][]byte) [][]byte { return l[:6] }, 0, "records 7 to 8 were removed from the end"},
		"all removed":    {func([][]byte) [][]byte { return nil }, 0, "records 1 to 8 were removed from the end"},
		"cut within":     {func(l [][]byte) [][]byte { l[7] = l[7][:50]; return l }, 8, "is no record"},
		"newline cut":    {func(l [][]byte) [][]byte { l[7] = bytes.TrimSpace(l[7]); return l }, 8, "does not end"},
		"zeroed":         {func(l [][]byte) [][]byte { l[2] = append(make([]byte, len(l[2])-1), '\n'); return l }, 3, "is no record"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			lines := make([][]byte, len(whole))
			for i, l := range whole {
				lines[i] = bytes.Clone(l)
			}
			must(t, os.WriteFile(path, bytes.Join(c.do(lines), nil), 0o600))
			must(t, os.WriteFile(path+headSuffix, read(t, source+headSuffix), 0o600))
			r := verify(t, path)
			if len(r.Findings) == 0 || r.Findings[0].Line != c.line || !strings.Contains(r.Findings[0].What, c.what) {
				t.Errorf("found %v, want first line %d: …%s…", r.Findings, c.line, c.what)
			}
		})
	}
}

// TestVerifyFindsAnyChangedByte changes every byte of a file.
func TestVerifyFindsAnyChangedByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 3)
	whole := read(t, path)
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1
		must(t, os.WriteFile(path, b, 0o600))
		if r := verify(t, path); len(r.Findings) == 0 {
			t.Fatalf("byte %d changed from %q to %q, and nothing is found", i, whole[i], b[i])
		}
	}
}

func TestVerifyAgainstANote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 3)
	noted := verify(t, path).Last
	write(t, path, 2)
	if r, err := Verify([]string{path}, &noted); err != nil || len(r.Findings) != 0 {
		t.Errorf("Verify = %v, %v for a record that is there", r.Findings, err)
	}
	must(t, os.Remove(path))
	must(t, os.Remove(path+headSuffix))
	write(t, path, 4) // a chain that is whole, but another
	if r := verify(t, path); len(r.Findings) != 0 {
		t.Fatalf("found %v in a whole new chain", r.Findings)
	}
	if r, err := Verify([]string{path}, &noted); err != nil || len(r.Findings) != 1 {
		t.Errorf("Verify = %v, %v, want the other hash of record 3", r.Findings, err)
	}
	if r, err := Verify([]string{path}, &Head{9, noted.Hash}); err != nil || len(r.Findings) != 1 {
		t.Errorf("Verify = %v, %v, want that record 9 is missing", r.Findings, err)
	}
}

// A file that an agent goes on writing is whole at any time.
func TestVerifyBesideAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 1)
	l := Open(path, Options{sync: func(*os.File) error { return nil }})
	defer l.Close()
	for range 200 {
		var writing sync.WaitGroup
		writing.Go(func() {
			for range 5 {
				l.Note("tested")
			}
		})
		r := verify(t, path)
		writing.Wait()
		if len(r.Findings) != 0 {
			t.Fatalf("found %v", r.Findings)
		}
	}
}

func FuzzVerify(f *testing.F) {
	source := filepath.Join(f.TempDir(), "audit.log")
	l := Open(source, Options{})
	for range 3 {
		if err := l.Record("tested"); err != nil {
			f.Fatal(err)
		}
	}
	whole, err := os.ReadFile(source)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, "00000000000000000003 x\n")
	path := filepath.Join(f.TempDir(), "audit.log") // a directory for each try took most of the time
	verify := func(t *testing.T) Report {
		v := verifier{looks: 1} // nobody else writes: to wait for the end of a line took nine tenths of the time
		r, err := v.files([]string{path})
		must(t, err)
		return r
	}
	f.Fuzz(func(t *testing.T, content []byte, head string) {
		must(t, os.WriteFile(path, content, 0o600))
		must(t, os.WriteFile(path+headSuffix, []byte(head), 0o600))
		before := verify(t)
		l := Open(path, Options{sync: func(*os.File) error { return nil }}) // goes on whatever it finds
		must(t, errors.Join(l.Record("tested"), l.Close()))
		if after := verify(t); len(before.Findings) == 0 && len(after.Findings) != 0 {
			t.Errorf("going on broke a whole file: %v", after.Findings)
		}
	})
}
