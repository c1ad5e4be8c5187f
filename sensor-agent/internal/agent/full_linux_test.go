package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/pkg/api"
)

// onSmallDisk moves the base directory to a disk of its own, of 64 MiB, until the test ends.
func (r *run) onSmallDisk() {
	r.t.Helper()
	if os.Geteuid() != 0 {
		r.t.Skip("a disk of its own takes root")
	}
	unmount := func(dir string) func() {
		return func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				r.t.Error(err)
			}
		}
	}
	disk := r.t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64m,mode=700"); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(unmount(disk))
	if out, err := exec.Command("cp", "-a", r.base+"/.", disk).CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	// The configuration names the old place: the disk stands there.
	if err := unix.Mount(disk, r.base, "", unix.MS_BIND, ""); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(unmount(r.base))
}

// What a sensor detects while the disk is full it tells once: it waits for room.
func TestWhatIsDetectedOnAFullDiskWaits(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"edge": `
def look(n):
    mark("looked", n)
    for gate in ("alarm", "later"):
        if there(gate) and not there(gate + "-told"):
            mark(gate + "-told", n)
            return event("edge." + gate)
serve(look)
`}, "")
	r.onSmallDisk()
	r.start()
	r.file("looked")
	var st unix.Statfs_t
	if err := unix.Statfs(r.base, &st); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(r.base, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, int64(st.Bavail)*int64(st.Bsize)-2<<20); err != nil {
		t.Fatal(err)
	}
	r.open("alarm")
	o.monitor("edge", func(m api.MonitorInfo) bool { return strings.Contains(m.Message, "kept for results") })
	if err := os.Truncate(ballast, 0); err != nil {
		t.Fatal(err)
	}
	r.open("later")
	o.await("edge.later")
	same(t, "events", []string{"edge.alarm", "edge.later"}, o.types())
}
