package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestAnEnvironmentWithoutRoomIsTriedAgain: that pip finds no room is no fault of the version.
func TestAnEnvironmentWithoutRoomIsTriedAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own takes root")
	}
	f := newFollower(t)
	disk := filepath.Join(f.base, "data", "cache", "env")
	mount := func(flags uintptr, size string) {
		t.Helper()
		if err := unix.Mount("tmpfs", disk, "tmpfs", flags, "mode=755,size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount(0, "1m")
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	large := wheeltest.Wheel{Name: "third", Version: "1.0", Files: map[string]string{"third.txt": strings.Repeat("x", 4<<20)}}
	manifest, program, _ := strings.Cut(requiring, "---\n")
	one := f.shelf.put(f.key, "1.0.0", manifest, program, large)
	f.shelf.assign(one)
	f.is(one, api.PackageInstalling, "is tried again: prepare Python for tidy: installing third==1.0: no space left on device", "")
	mount(unix.MS_REMOUNT, "64m")
	f.is(one, api.PackageReady, "", "1.0.0")
}
