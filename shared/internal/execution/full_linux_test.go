package execution

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/diskspace"
)

// Without a byte left the journal opens and says what it would say with room, again and again; its
// next opening with room records it (G6).
func TestOpenOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own takes root")
	}
	disk := t.TempDir()
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m,mode=700"))
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir, ballast := filepath.Join(disk, "journal"), filepath.Join(disk, "ballast")
	j := open(t, dir, Options{})
	run(t, j, "reported", completed())
	must(t, j.Accept(instruction("ended", 1)))
	must(t, j.Ended("ended", 1, completed()))
	must(t, j.Accept(instruction("accepted", 1)))
	must(t, j.Accept(instruction("started", 1)))
	must(t, j.Starting("started", 1))
	for err := error(nil); err == nil; { // no room in the last block either
		_, err = j.log.Append([]byte("[]"))
		if size := j.log.Size() % 4096; size > 4096-32 {
			break
		}
	}
	file, err := os.Create(ballast)
	must(t, err)
	for piece := make([]byte, 4096); err == nil; {
		_, err = file.Write(piece)
	}
	if file.Close(); !diskspace.Full(err) {
		t.Fatal(err)
	}
	want := map[string]string{"ended/1": "completed", "accepted/1": `interrupted{"started":false}`, "started/1": `interrupted{"started":true}`}
	look := func() {
		t.Helper()
		if diff := cmp.Diff(want, summary(j)); diff != "" || !j.Seen("reported", 1) {
			t.Errorf("reported is remembered: %v; what waits (-want +got):\n%s", j.Seen("reported", 1), diff)
		}
	}
	for range 2 {
		j = open(t, dir, Options{})
		look()
		if err := j.Accept(instruction("new", 1)); !diskspace.Full(err) {
			t.Errorf("accepted on a full disk: %v", err)
		}
	}
	must(t, os.Remove(ballast))
	must(t, j.Accept(instruction("new", 1)))
	must(t, j.Starting("new", 1))
	must(t, j.Reported("started", 1))
	delete(want, "started/1")
	want["new/1"] = `interrupted{"started":true}`
	for range 2 {
		j = open(t, dir, Options{})
		look()
		must(t, j.Close())
	}
}
