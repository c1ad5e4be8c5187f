package quota

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(t testing.TB, path string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
}

// isOver reports whether the watch says so within a time that only a hang exceeds.
func isOver(w *Watch) bool {
	select {
	case <-w.Over():
		return true
	case <-time.After(time.Minute):
		return false
	}
}

func TestCounts(t *testing.T) {
	temp, home := t.TempDir(), t.TempDir()
	put(t, home+"/old", 1<<20)
	w := Start(Spec{Temp: temp, Home: home})
	time.Sleep(10 * time.Millisecond) // the start is what Home is measured from
	put(t, home+"/new", 64<<10)
	put(t, temp+"/a/b/c", 256<<10)
	put(t, temp+"/d", 0)
	files := int64(5) // new, a, b, c, d
	if runtime.GOOS != "windows" {
		if err := os.Link(temp+"/a/b/c", temp+"/e"); err != nil { // the same file again
			t.Fatal(err)
		}
		if err := os.Symlink("/", temp+"/f"); err != nil {
			t.Fatal(err)
		}
		files++
	}
	use := w.Close()
	if use.Files != files || use.Bytes < 320<<10 || use.Bytes > 360<<10 {
		t.Errorf("Close() = %+v, want %d files and 320 KiB with their directories", use, files)
	}
}

func TestOver(t *testing.T) {
	for name, c := range map[string]struct {
		max   Use
		store func(t *testing.T, temp, home string)
	}{
		"bytes":          {Use{Bytes: 1 << 20}, func(t *testing.T, temp, home string) { put(t, temp+"/a", 2<<20) }},
		"files":          {Use{Files: 100}, func(t *testing.T, temp, home string) { many(t, temp, 101) }},
		"growth of home": {Use{Bytes: 1 << 20}, func(t *testing.T, temp, home string) { put(t, home+"/a/b", 2<<20) }},
		"depth":          {Use{Bytes: 1 << 30}, func(t *testing.T, temp, home string) { nest(t, temp, maxDepth+1) }},
	} {
		t.Run(name, func(t *testing.T) {
			temp, home := t.TempDir(), t.TempDir()
			w := Start(Spec{Temp: temp, Home: home, Max: c.max})
			defer w.Close()
			time.Sleep(10 * time.Millisecond)
			c.store(t, temp, home)
			if !isOver(w) {
				t.Errorf("not over: %+v", w.Close())
			}
		})
	}
}

func many(t *testing.T, dir string, n int) {
	for i := range n {
		put(t, fmt.Sprintf("%s/%d", dir, i), 0)
	}
}

func nest(t *testing.T, dir string, n int) {
	for range n {
		dir += "/d"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithinTheLimit(t *testing.T) {
	temp := t.TempDir()
	w := Start(Spec{Temp: temp, Max: Use{Bytes: 1 << 20, Files: 100}})
	for range 20 {
		put(t, temp+"/a", 512<<10) // again and again
		many(t, temp, 50)
		time.Sleep(time.Millisecond)
	}
	select {
	case <-w.Over():
		t.Error("over")
	default:
	}
	if use := w.Close(); use.Files != 51 {
		t.Errorf("Close() = %+v, want 51 files", use)
	}
}

func TestNoTemp(t *testing.T) {
	w := Start(Spec{Temp: filepath.Join(t.TempDir(), "none"), Max: Use{Bytes: 1}})
	if use := w.Close(); use != (Use{}) {
		t.Errorf("Close() = %+v, want nothing", use)
	}
}

// What a watch costs a plugin that stores nothing and lives shortly.
func BenchmarkWatch(b *testing.B) {
	temp, home := b.TempDir(), b.TempDir()
	for b.Loop() {
		Start(Spec{Temp: temp, Home: home, Max: Use{Bytes: 64 << 20, Files: 4096}}).Close()
	}
}

// What a look at many files costs; one is due when the limit may be exceeded.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{10, 4000} {
		b.Run(fmt.Sprintf("%d files", n), func(b *testing.B) {
			temp := b.TempDir()
			for i := range n {
				put(b, fmt.Sprintf("%s/%d", temp, i), 0)
			}
			w := Start(Spec{Temp: temp, Processes: func() []int { return []int{os.Getpid()} }})
			defer w.Close()
			for b.Loop() {
				w.look(nil)
			}
		})
	}
}
