package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestADamagedDatabaseIsToldAsSuch holds that whoever starts a server, looks at its database or backs it up
// is told which file is damaged, and what to do.
func TestADamagedDatabaseIsToldAsSuch(t *testing.T) {
	s := servertest.Start(t)
	for _, id := range []api.AgentID{"sensor-1", "sensor-2", "sensor-3"} {
		s.Enrol(api.Sensor, id, "a")
	}
	s.Stop()
	whole, err := os.ReadFile(filepath.Join(s.DataDir, server.DatabaseName))
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for name, content := range map[string][]byte{
		"garbage":            bytes.Repeat([]byte("garbage "), 4*page),
		"cut off":            whole[:len(whole)/2/page*page],
		"cut off in a page":  whole[:page/2],
		"garbage after page": append(bytes.Clone(whole[:page]), bytes.Repeat([]byte("garbage "), (len(whole)-page)/8)...),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, server.DatabaseName)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"server --listen 127.0.0.1:0 --web-listen=", "fsck", "audit verify", "migrate revert 1", "backup " + filepath.Join(dir, "b")} {
			code, out, errs := run(t, append([]string{"--data-dir", dir}, strings.Fields(line)...)...)
			if code != exitFailed || !strings.Contains(errs, path+" is damaged: ") || !strings.Contains(errs, "restore a backup") {
				t.Errorf("%s: %s = %d\n%s%s", name, line, code, out, errs)
			}
		}
	}
}
