//go:build unix

package sandbox

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// rlimit is one resource limit of setrlimit(2).
type rlimit struct {
	Resource int         `json:"resource"`
	Value    unix.Rlimit `json:"value"`
}

// defaultOpenFiles is what most systems give a process; Python needs about ten.
const defaultOpenFiles = 1024

// uidProcesses bounds a fork bomb before the watchdog ends it. RLIMIT_NPROC counts
// all processes and threads of the user, the agent's and other plugins' as well,
// so it cannot be the plugin's own limit.
const uidProcesses = 4096

// addressSpace is the backstop behind the watchdog on resident memory. Address
// space is far more than memory: Python with 20 threads takes 266 MiB of it for 46
// MiB, even with MALLOC_ARENA_MAX=2.
func addressSpace(memory int64) uint64 { return 4*uint64(memory) + 1<<30 }

// rlimits are the resource limits that hold l as far as the kernel can, per
// process.
func (l Limits) rlimits() []rlimit {
	fixed := func(resource int, n uint64) rlimit { return rlimit{resource, unix.Rlimit{Cur: n, Max: n}} }
	files := l.OpenFiles
	if files == 0 {
		files = defaultOpenFiles
	}
	out := []rlimit{
		fixed(unix.RLIMIT_CORE, 0), // a core dump holds what the plugin knew
		fixed(unix.RLIMIT_NOFILE, files),
		fixed(unix.RLIMIT_NPROC, uidProcesses),
	}
	if l.FileSize > 0 {
		out = append(out, fixed(unix.RLIMIT_FSIZE, uint64(l.FileSize)))
	}
	if l.CPU > 0 {
		seconds := uint64((l.CPU + time.Second - 1) / time.Second)
		// XCPU at the limit, KILL a second later for who ignores it.
		out = append(out, rlimit{unix.RLIMIT_CPU, unix.Rlimit{Cur: seconds, Max: seconds + 1}})
	}
	if l.Memory > 0 && l.Memory < math.MaxInt64/8 {
		out = append(out, fixed(unix.RLIMIT_AS, addressSpace(l.Memory)))
	}
	return out
}

// clamp lowers the limit to what this process may still set: the hard limit that
// it inherited.
func (r *rlimit) clamp() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(r.Resource, &now); err != nil {
		return fmt.Errorf("read resource limit %d: %w", r.Resource, err)
	}
	r.Value.Max = min(r.Value.Max, now.Max)
	r.Value.Cur = min(r.Value.Cur, r.Value.Max)
	return nil
}
