package sandbox

import (
	"os/exec"
	"testing"
	"time"
)

// BenchmarkUsage is what one look of the watchdog takes, at a tree of one process and
// at one of six.
func BenchmarkUsage(b *testing.B) {
	for name, script := range map[string]string{
		"1 process":   "sleep 60",
		"6 processes": "for i in 1 2 3 4 5; do sleep 60 & done; wait",
	} {
		b.Run(name, func(b *testing.B) {
			cmd := exec.Command("/bin/sh", "-c", script)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() {
				killBelow(cmd.Process.Pid)
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			time.Sleep(100 * time.Millisecond) // until all have started
			t := &tree{pid: cmd.Process.Pid}
			for b.Loop() {
				t.census.usage(t.pid)
			}
		})
	}
}
