package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

// officialPlugin is the text of one, as newHost takes it.
func officialPlugin(t *testing.T, dir string) string {
	t.Helper()
	manifest := read(t, filepath.Join("..", "..", "..", "plugins", dir, "plugin.yaml"))
	for line := range strings.Lines(manifest) {
		if strings.HasPrefix(line, "id:") || strings.HasPrefix(line, "version:") { // newHost writes these
			manifest = strings.Replace(manifest, line, "", 1)
		}
	}
	return manifest + "---\n" + read(t, filepath.Join("..", "..", "..", "plugins", dir, "main.py"))
}

// The sizes that disk-space tells are the host's, also where it has a root of its own,
// and the mounts are the host's list.
func TestDiskSpaceSeesTheHost(t *testing.T) {
	h := newHost(t, api.Sensor, map[string]string{
		"disk-space": officialPlugin(t, "sensors/disk-space"), "disk-space.yaml": "plugin: disk-space\nconfig: {threshold: 0, mounts: [/]}\n",
	})
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		t.Fatal(err)
	}
	for _, level := range []sandbox.Level{sandbox.Full, sandbox.Confined} {
		if !h.confinement.host.Level.AtLeast(level) {
			t.Logf("this host does not give %s", level)
			continue
		}
		h.posture = h.confinement.host.Posture(level)
		task := h.task("disk-space")
		task.Forever = true
		events := make(chan api.Event, 10)
		task.Trigger = func(_ context.Context, e api.Event) (api.EventID, error) {
			events <- e
			return "evt-1", nil
		}
		err := h.Sense(t.Context(), task, time.Second, func(s *Session) error {
			_, err := s.Detect(t.Context()) // what it emits comes before the answer
			return err
		})
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %v, %d events\n%s", level, err, len(events), h.log)
			continue
		}
		data := (<-events).Data
		var total int64
		for _, digit := range data["total_bytes"] {
			total = 10*total + int64(digit-'0')
		}
		if want := int64(fs.Blocks) * fs.Frsize; total != want {
			t.Errorf("%s: / has %d bytes, and %d are told", level, want, total)
		}
		if device := string(data["device"]); len(device) < 3 {
			t.Errorf("%s: the list of mounts is not the host's: device %s", level, device)
		}
	}
	if _, err := os.Stat("/dev/host"); err == nil {
		t.Error("/dev/host was made on the host")
	}
}
