package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What `make dev` gives a person: it says where everything is, tells events and runs as
// they come, and Ctrl-C leaves nothing behind.
func TestDev(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	dev := exec.Command(filepath.Join(binDir, "stavily"), "dev")
	dev.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(patience, func() { dev.Process.Kill() })
	defer limit.Stop()

	lines := bufio.NewScanner(out)
	var said strings.Builder
	until := func(pattern string) []string {
		t.Helper()
		find := regexp.MustCompile(pattern)
		for lines.Scan() {
			said.WriteString(lines.Text() + "\n")
			if m := find.FindStringSubmatch(lines.Text()); m != nil {
				return m
			}
		}
		t.Fatalf("dev ended without %q (%v); it said:\n%s", pattern, lines.Err(), said.String())
		return nil
	}
	watched := until(`of=(\S+)/big`)[1]
	until(`as they come`)
	if err := os.WriteFile(filepath.Join(watched, "big"), make([]byte, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	until(`event +directory\.size\.high`)
	until(`run +clean-when-full \S+: completed`)
	if err := dev.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	until(`cleaning up`)
	if err := dev.Wait(); err != nil {
		t.Errorf("dev after Ctrl-C: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(watched)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", filepath.Dir(watched), err)
	}
}
