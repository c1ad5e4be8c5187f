package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

func init() {
	children["failing disk"] = commitUntilTheDiskFails
	children["full disk"] = commitUntilTheDiskIsFull
}

// output runs a child to its end and returns the lines that it printed.
func output(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	buffer := limits.NewBuffer(1 << 20)
	cmd.Stdout = buffer
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(buffer.Bytes()))
}

// commitUntil commits and prints notes until an update fails.
func commitUntil(s *Store) error {
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%s", n, strings.Repeat("x", 500))
		if err := s.Org("o").Update(context.Background(), storetest.Note(id)); err != nil {
			return err
		}
		fmt.Println(id)
	}
}

// commitUntilTheDiskFails limits the size of its files, which writes to them then
// answer with EFBIG: to SQLite an I/O error at a commit like any other.
func commitUntilTheDiskFails(dir string) error {
	ctx := context.Background()
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(ctx, filepath.Join(dir, "stavily.db"))
	if err != nil {
		return err
	}
	const limit = 600 << 10 // past the WAL of a new database, below its first checkpoint
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	if err := commitUntil(s); !errors.Is(err, store.ErrUnknownOutcome) {
		return fmt.Errorf("the failed commit is %w, want ErrUnknownOutcome", err)
	}
	ran := false
	update := s.Org("o").Update(ctx, func(store.Tx) error { ran = true; return nil })
	view := s.Org("o").View(ctx, func(store.Reader) error { ran = true; return nil })
	if ran || !errors.Is(update, store.ErrUnknownOutcome) || !errors.Is(view, store.ErrUnknownOutcome) {
		return fmt.Errorf("afterwards: Update = %w, View = %w, ran %v; want both refused", update, view, ran)
	}
	return nil
}

func TestFailedCommit(t *testing.T) {
	dir := t.TempDir()
	acked := output(t, child(t, "failing disk", dir))
	s := openIn(t, dir)
	defer s.Close()
	// The one that failed may be there or not.
	if got := storetest.Notes(t, s); len(acked) == 0 || len(got) < len(acked) || len(got) > len(acked)+1 || strings.Join(got[:len(acked)], " ") != strings.Join(acked, " ") {
		t.Errorf("%d notes are there of %d that were answered", len(got), len(acked))
	}
}

// commitUntilTheDiskIsFull has a file system of 4 MiB to itself.
func commitUntilTheDiskIsFull(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		return err
	}
	ctx := context.Background()
	s, err := Open(ctx, filepath.Join(dir, "stavily.db"))
	if err != nil {
		return err
	}
	full := commitUntil(s)
	again := s.Org("o").Update(ctx, storetest.Note(strings.Repeat("y", 10<<10)))
	view := s.Org("o").View(ctx, func(r store.Reader) error { _, err := r.Audit(0, 1); return err })
	if !errors.Is(full, store.ErrFull) || !errors.Is(again, store.ErrFull) || view != nil {
		return fmt.Errorf("on the full disk: Update = %w, then %w, View = %w; want ErrFull twice and nil", full, again, view)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	if err := s.Org("o").Update(ctx, storetest.Note("last")); err != nil {
		return fmt.Errorf("once there is space: %w", err)
	}
	fmt.Println("last")
	if err := s.Close(); err != nil {
		return err
	}
	if err := fill(ballast); err != nil {
		return err
	}
	if s, err := Open(ctx, filepath.Join(dir, "stavily.db")); err == nil || !strings.Contains(err.Error(), "the disk of "+dir+" is full: free some") {
		return fmt.Errorf("open on the full disk = %v, %w", s != nil, err)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	return printNotes(filepath.Join(dir, "stavily.db"))
}

// fill writes a file until there is no space left.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<10))
	}
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// printNotes prints what is really there, after a line of its own.
func printNotes(path string) error {
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	fmt.Println("there:")
	err = s.Org("o").View(context.Background(), func(r store.Reader) error {
		for after := int64(0); ; after++ {
			page, err := r.Audit(after, 1)
			if err != nil || len(page) == 0 {
				return err
			}
			fmt.Println(page[0].Detail)
		}
	})
	return errors.Join(err, s.Close())
}

func TestFullDisk(t *testing.T) {
	cmd := child(t, "full disk", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := probe(cmd); err != nil {
		t.Skipf("this system gives no namespaces: %v", err)
	}
	acked, there, _ := strings.Cut(strings.Join(output(t, cmd), " "), " there: ")
	if acked == "" || acked != there {
		t.Errorf("%d bytes of notes are there, %d were answered", len(there), len(acked))
	}
}

// probe starts a process that does nothing with the same attributes.
func probe(cmd *exec.Cmd) error {
	try := exec.Command(os.Args[0], "-test.run=^$")
	try.SysProcAttr = cmd.SysProcAttr
	return try.Run()
}
