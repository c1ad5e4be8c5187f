package agenttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// SmallDisk moves a base directory to a disk of its own, of 64 MiB, until the test ends. The
// place stays the same, which the configuration names. It takes root: else the test is skipped.
func SmallDisk(t testing.TB, base string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own takes root")
	}
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=64m,mode=700")
	said := limits.NewBuffer(4 << 10)
	move := exec.Command("cp", "-a", base+"/.", disk)
	move.Stderr = said
	if err := move.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.Bytes())
	}
	mount(t, disk, base, "", unix.MS_BIND, "")
}

func mount(t testing.TB, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// FillDisk makes a file that leaves of its disk less than an agent keeps, and enough for what
// is begun.
func FillDisk(t testing.TB, path string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, int64(st.Bavail)*int64(st.Bsize)-2<<20); err != nil {
		t.Fatal(err)
	}
}
