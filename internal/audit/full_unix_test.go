//go:build unix

package audit

import (
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// withRoom runs do while no file of this process may grow beyond size, as on a full disk.
func withRoom(t *testing.T, size int, do func()) {
	t.Helper()
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ) // so that the write fails
	defer signal.Reset(syscall.SIGXFSZ)
	limit := before
	limit.Cur = uint64(size)
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before)) }()
	do()
}

// What there was room for of a record goes, and a repair is told although there was no
// room for its record at first.
func TestAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, 2)
	whole := read(t, path)
	appendTo(t, path, `{"seq":3,"time":"2026`)
	l := Open(path, Options{})
	defer l.Close()
	for range 2 {
		withRoom(t, len(whole)+100, func() {
			if err := l.Record("tested"); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Record = %v without room", err)
			}
		})
		if got := read(t, path); string(got) != string(whole) {
			t.Errorf("a record that failed leaves %q", got[len(whole):])
		}
	}
	must(t, l.Record("tested"))
	if got, want := kinds(t, path), "tested tested audit_repaired tested"; got != want {
		t.Errorf("records %q, want %q", got, want)
	}
	if r := verify(t, path); len(r.Findings) != 0 {
		t.Errorf("found %v", r.Findings)
	}
}
