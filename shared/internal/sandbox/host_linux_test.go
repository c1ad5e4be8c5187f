package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/diskspace"
)

// Every level that this kernel can give passes its self-test, and a lower one is taken
// where a higher is not wanted.
func TestProbe(t *testing.T) {
	h := probed(t)
	t.Logf("%+v", h)
	if h.Level != Full || !h.Proc || len(h.Missing) > 0 {
		t.Errorf("level %s, missing %v", h.Level, h.Missing)
	}
	for _, c := range h.Checks {
		if !c.Passed {
			t.Errorf("%s: %s: %s", c.Level, c.Name, c.Detail)
		}
	}
}

// A socket's path is short; an agent's base directory need not be.
func TestProbeInALongDirectory(t *testing.T) {
	for _, length := range []int{maxBaitDir, 200} {
		dir := t.TempDir()
		dir = filepath.Join(dir, strings.Repeat("d", max(1, length-len(dir)-1)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h, err := Probe(t.Context(), ProbeOptions{Highest: Limited, Dir: dir})
		if err != nil || h.Level != Limited {
			t.Errorf("a directory of %d bytes: %+v, %v", len(dir), h, err)
		}
	}
}

// An agent is started while its disk is full: each level is found as with room.
func TestProbeOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own takes root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	file, err := os.Create(filepath.Join(disk, "ballast"))
	for piece := make([]byte, 4096); err == nil; {
		_, err = file.Write(piece)
	}
	if file.Close(); !diskspace.Full(err) {
		t.Fatal(err)
	}
	for _, level := range []Level{Full, Confined, Limited} {
		h, err := Probe(t.Context(), ProbeOptions{Dir: disk, Highest: level})
		if err != nil || h.Level != level || len(h.Missing) > 0 {
			t.Errorf("level %s: %+v, %v", level, h, err)
		}
	}
}

// On older kernels the other layers do what Landlock cannot yet.
func TestProbeWithOlderLandlock(t *testing.T) {
	for _, abi := range []int{1, 2, 3, 4, 5, 6} {
		for _, level := range confinedLevels {
			h, err := Probe(t.Context(), ProbeOptions{Dir: t.TempDir(), LandlockABI: abi, Highest: level})
			if err != nil || h.Level != level || h.LandlockABI != abi || len(h.Missing) > 0 {
				t.Errorf("ABI %d, level %s: %s, %v, missing %v", abi, level, h.Level, err, h.Missing)
			}
		}
	}
}

// What an earlier self-test found is taken as long as it is true.
func TestProbeKeepsWhatStillHolds(t *testing.T) {
	held := *probed(t)
	held.Kernel = "as kept"
	for name, c := range map[string]struct {
		kept Host
		want string
	}{
		"true":     {held, "as kept"},
		"not true": {Host{Level: Confined, Kernel: "as kept"}, probed(t).Kernel}, // without a version of Landlock
	} {
		o := ProbeOptions{Dir: t.TempDir(), Cache: filepath.Join(t.TempDir(), "sandbox.json")}
		text, err := json.Marshal(cacheEntry{o.key(), &c.kept})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(o.Cache, text, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Probe(t.Context(), o)
		if err != nil || h.Kernel != c.want {
			t.Errorf("%s: %+v, %v; want it from kernel %q", name, h, err, c.want)
		}
		if again := cached(o.Cache, o.key()); again == nil || again.Kernel != c.want {
			t.Errorf("%s: kept is %+v", name, again)
		}
	}
}
