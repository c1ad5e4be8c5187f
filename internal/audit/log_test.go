package audit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func write(t *testing.T, path string, n int) {
	t.Helper()
	l := Open(path, Options{})
	for i := range n {
		if err := l.Record("tested", slog.Int("n", i), slog.String("text", "größer\n\"x\"")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, paths ...string) Report {
	t.Helper()
	r, err := Verify(paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func kinds(t *testing.T, path string) string {
	t.Helper()
	var out []string
	if err := Read(path, func(r Record) bool { out = append(out, string(r.Kind)); return true }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestAChainOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 3)
	write(t, path, 2)
	if r := verify(t, path); r.Records != 5 || r.First != 1 || r.Last.Seq != 5 || len(r.Findings) != 0 {
		t.Errorf("verify = %+v, want 5 records and nothing found", r)
	}
	for _, p := range []string{path, path + headSuffix} {
		if info, err := os.Stat(p); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", p, info.Mode(), err)
		}
	}
}

func TestConcurrentRecordsShareOneChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var mu sync.Mutex
	syncs := 0
	l := Open(path, Options{sync: func(f *os.File) error { mu.Lock(); syncs++; mu.Unlock(); return f.Sync() }})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				if err := l.Record("tested", slog.Int("w", w), slog.Int("i", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, path); r.Records != 320 || len(r.Findings) != 0 {
		t.Errorf("verify = %+v, want 320 records and nothing found", r)
	}
	if syncs >= 320 {
		t.Errorf("%d flushes for 320 records: they share none", syncs)
	}
}

func TestATornEndIsCutOffAndTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 2)
	appendTo(t, path, `{"seq":3,"time":"2026`)
	write(t, path, 1)
	if got, want := kinds(t, path), "tested tested audit_repaired tested"; got != want {
		t.Errorf("records %q, want %q", got, want)
	}
	if r := verify(t, path); len(r.Findings) != 0 {
		t.Errorf("found %v after the repair", r.Findings)
	}
}

// A power cut keeps any sectors of a write: whole lines, even records, may stand behind a
// damaged one.
func TestATornMiddleIsCutOffAndTold(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.log")
	write(t, whole, 6)
	lines := strings.SplitAfter(string(read(t, whole)), "\n")
	hole := strings.Repeat("\x00", len(lines[3])-20) + lines[3][len(lines[3])-20:]
	for name, marker := range map[string]bool{"with what was confirmed": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			write(t, path, 3)
			if !marker {
				must(t, os.Remove(path+headSuffix))
			}
			before := read(t, path)
			own := strings.SplitAfter(string(before), "\n")[:3]
			appendTo(t, path, hole+lines[4]+lines[5])
			write(t, path, 1)
			if got, want := kinds(t, path), "tested tested tested audit_repaired tested"; got != want {
				t.Errorf("records %q, want %q", got, want)
			}
			if !strings.HasPrefix(string(read(t, path)), strings.Join(own, "")) {
				t.Error("what was confirmed has changed")
			}
			if r := verify(t, path); len(r.Findings) != 0 {
				t.Errorf("found %v after the repair", r.Findings)
			}
		})
	}
}

func TestAConfirmedEndIsNotTakenForTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 3)
	b := read(t, path)
	if err := os.WriteFile(path, b[:len(b)-10], 0o600); err != nil { // within the confirmed record 3
		t.Fatal(err)
	}
	write(t, path, 1)
	if got, want := kinds(t, path), "tested tested audit_damaged tested"; got != want {
		t.Errorf("records %q, want %q", got, want)
	}
	r := verify(t, path)
	if len(r.Findings) == 0 || r.Findings[0].Line != 3 {
		t.Errorf("found %v, want line 3", r.Findings)
	}
}

func TestAMovedFileIsContinued(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
	l := Open(path, Options{})
	defer l.Close()
	for _, move := range []bool{false, true, false} {
		if move {
			if err := os.Rename(path, old); err != nil {
				t.Skip("an open file cannot be moved here: ", err)
			}
		}
		if err := l.Record("tested"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := kinds(t, path), "audit_continued tested tested"; got != want {
		t.Errorf("new file has %q, want %q", got, want)
	}
	if r := verify(t, old, path); r.Records != 4 || r.Last.Seq != 4 || len(r.Findings) != 0 {
		t.Errorf("verify = %+v, want 4 records over both files", r)
	}
	if r := verify(t, path); r.First != 2 || len(r.Findings) != 0 {
		t.Errorf("verify = %+v, want a file that begins with record 2", r)
	}
	if r := verify(t, path, old); len(r.Findings) == 0 {
		t.Error("files in the wrong order pass")
	}
}

func TestWhatOthersDoToTheOpenFileIsTold(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, path string){
		"cut off": func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"removed": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"written": func(t *testing.T, path string) { appendTo(t, path, "me too\n") },
		"one fewer": func(t *testing.T, path string) {
			b := read(t, path)
			must(t, os.Truncate(path, int64(bytes.IndexByte(b, '\n')+1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			l := Open(path, Options{})
			defer l.Close()
			must(t, l.Record("tested"))
			must(t, l.Record("tested"))
			do(t, path)
			must(t, l.Record("tested"))
			if got := kinds(t, path); !strings.Contains(got, "audit_damaged tested") && !strings.Contains(got, "audit_continued tested") {
				t.Errorf("records %q do not tell of it", got)
			}
			if r := verify(t, path); len(r.Findings) == 0 && r.First == 1 {
				t.Errorf("verify = %+v: it does not show", r)
			}
		})
	}
}

var errDisk = errors.New("the disk is on fire")

func TestAFailedFlushIsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var told []error
	fail := false
	l := Open(path, Options{
		Changed: func(err error) { told = append(told, err) },
		sync: func(f *os.File) error {
			if fail {
				return errDisk
			}
			return f.Sync()
		},
	})
	must(t, l.Record("tested"))
	fail = true
	if err := l.Record("tested"); !errors.Is(err, ErrBroken) || !errors.Is(err, errDisk) {
		t.Errorf("Record = %v, want ErrBroken and the reason", err)
	}
	fail = false
	if err := l.Record("tested"); !errors.Is(err, ErrBroken) {
		t.Errorf("Record = %v after a failed flush, want ErrBroken", err)
	}
	if len(told) != 1 || !errors.Is(told[0], ErrBroken) {
		t.Errorf("told %v, want it once", told)
	}
	write(t, path, 1) // a new process recovers
	if r := verify(t, path); len(r.Findings) != 0 {
		t.Errorf("found %v", r.Findings)
	}
}

// A panic in a part of an agent is the error of that part, and the others end in order.
func TestAPanicKeepsNobodyWaiting(t *testing.T) {
	l := Open(filepath.Join(t.TempDir(), "audit.log"), Options{sync: func(*os.File) error { panic("in the middle") }})
	g, _ := l.join(l.entry("tested"))
	func() {
		defer func() { _ = recover() }()
		l.lead(g)
	}()
	select {
	case <-g.done:
		if !errors.Is(g.err, ErrBroken) {
			t.Errorf("who was to be written hears %v, want ErrBroken", g.err)
		}
	case <-time.After(time.Minute):
		t.Fatal("who was to be written waits for what does not come")
	}
	if err := l.Record("tested"); !errors.Is(err, ErrBroken) {
		t.Errorf("Record = %v after a panic, want ErrBroken", err)
	}
}

func TestNotesAreHeldUntilTheyCanBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	path := filepath.Join(dir, "audit.log")
	var told []error
	l := Open(path, Options{Changed: func(err error) { told = append(told, err) }})
	defer l.Close()
	for i := range maxHeld + 2 {
		l.Note("noted", slog.Int("n", i))
	}
	if err := l.Record("tested"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Record = %v without a directory, want an error that names the file", err)
	}
	must(t, os.Mkdir(dir, 0o700))
	must(t, l.Record("tested"))
	if r := verify(t, path); r.Records != maxHeld+2 || len(r.Findings) != 0 {
		t.Errorf("verify = %+v, want the held notes, their count and the record", r)
	}
	if got := kinds(t, path); !strings.HasSuffix(got, "noted audit_dropped tested") {
		t.Errorf("ends with %q", got[len(got)-60:])
	}
	if !strings.Contains(string(read(t, path)), `"kind":"audit_dropped","fields":{"records":2}`) {
		t.Error("how many were dropped is not told")
	}
	if len(told) != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("told %v, want the failure and its end", told)
	}
}

// Those who hold a note while others find that nothing can be written keep to the bound,
// and none is lost without being counted.
func TestTheNotesThatAreHeldAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := Open(filepath.Join(dir, "audit.log"), Options{})
	defer l.Close()
	const writers, each = 16, maxHeld / 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				l.Note("noted")
			}
		})
	}
	wg.Wait()
	if len(l.held) > maxHeld || len(l.held)+l.lost != writers*each {
		t.Errorf("%d notes are held and %d counted as lost, want at most %d and all %d", len(l.held), l.lost, maxHeld, writers*each)
	}
	must(t, os.Mkdir(dir, 0o700))
}

func TestSecretsAreNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := Open(path, Options{Redact: func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "hunter2-and-hunter2", "[redacted]"), "hunter2", "[redacted]")
	}})
	defer l.Close()
	must(t, l.Record("tested", slog.Any("error", fmt.Errorf("password hunter2 is wrong")), slog.String("long", strings.Repeat("x", MaxLine))))
	must(t, l.Record("tested", slog.String("at the cut", strings.Repeat("x", maxText-4)+"hunter2")))
	must(t, l.Record("tested", slog.String("short at last", strings.Repeat("hunter2-and-hunter2-and-", maxText/20))))
	must(t, l.Record("tested", slog.Any("many", strings.Split(strings.Repeat("x ", MaxLine), " "))))
	must(t, l.Record("tested", slog.Any("error", fmt.Errorf("password hunter2 is wrong"))))
	if b := read(t, path); bytes.Contains(b, []byte("hunt")) || !bytes.Contains(b, []byte("password [redacted] is wrong")) || !bytes.Contains(b, []byte("too_long")) || !bytes.Contains(b, []byte("… (65536 bytes)")) {
		t.Errorf("wrote %.500s", b)
	}
	if r := verify(t, path); len(r.Findings) != 0 {
		t.Errorf("found %v", r.Findings)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

func BenchmarkRecord(b *testing.B) {
	l := Open(filepath.Join(b.TempDir(), "audit.log"), Options{})
	defer l.Close()
	for b.Loop() {
		if err := l.Record("instruction_started", slog.String("instruction", "01JABCDEFGHJKMNPQRSTVWXYZ0"), slog.Int("attempt", 1)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordWithoutFlush(b *testing.B) {
	l := Open(filepath.Join(b.TempDir(), "audit.log"), Options{sync: func(*os.File) error { return nil }})
	defer l.Close()
	for b.Loop() {
		if err := l.Record("instruction_started", slog.String("instruction", "01JABCDEFGHJKMNPQRSTVWXYZ0"), slog.Int("attempt", 1)); err != nil {
			b.Fatal(err)
		}
	}
}
