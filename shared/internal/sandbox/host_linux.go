package sandbox

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/broker"
)

// spareDir is in memory.
const spareDir = "/dev/shm"

// key names everything that a result depends on: the kernel and what it was told, this
// program, and its rights.
func (o ProbeOptions) key() string {
	h := fnv.New128a()
	var name unix.Utsname
	_ = unix.Uname(&name)
	var st unix.Stat_t
	_ = unix.Stat("/proc/self/exe", &st)
	fmt.Fprint(h, name.Release, name.Version, st.Dev, st.Ino, st.Size, st.Mtim, os.Geteuid(), o.Highest, o.LandlockABI, o.User, o.Dir)
	for _, path := range []string{
		"/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/random/boot_id",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "/proc/self/attr/current",
	} {
		b, _ := limits.ReadFile(path, 4<<10) // what is not there is the same as ever
		h.Write(b)
	}
	for _, file := range []struct {
		path string
		keep func(string) bool
	}{
		{"/proc/self/status", func(line string) bool {
			return strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Seccomp") || strings.HasPrefix(line, "Groups")
		}},
		{"/proc/self/mountinfo", func(line string) bool { return strings.Contains(line, " /proc") }},
	} {
		b, _ := limits.ReadFile(file.path, maxProcFile)
		for line := range strings.Lines(string(b)) {
			if file.keep(line) {
				io.WriteString(h, line)
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// variants are tried in this order.
var variants = []variant{{level: Full, proc: true}, {level: Full}, {level: Confined, broker: true}, {level: Confined}, {level: Limited}}

func (o ProbeOptions) probe(ctx context.Context) (*Host, error) {
	h := &Host{Level: None, Missing: map[string]string{}}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	abi, err := landlockABI()
	if err != nil {
		h.Missing["landlock"] = "the kernel has none: " + err.Error()
	}
	if o.LandlockABI > 0 {
		abi = min(abi, o.LandlockABI)
	}
	h.LandlockABI = abi
	b, err := openBait(o.Dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, v := range variants {
		if o.Highest != "" && !o.Highest.AtLeast(v.level) || v.level.AtLeast(Confined) && abi == 0 || v.broker && h.noBroker() {
			continue
		}
		checks, err := b.try(ctx, o, *h, v)
		h.Checks = append(h.Checks, checks...)
		if why := failure(checks, err); why != "" {
			h.miss(v, why)
			continue
		}
		h.Level, h.Proc, h.Broker = v.level, v.proc, v.broker
		return h, ctx.Err()
	}
	return h, ctx.Err()
}

// miss keeps the reason of the most that could have been.
func (h *Host) miss(v variant, why string) {
	layer := map[Level]string{Full: "namespaces", Confined: "landlock", Limited: "seccomp"}[v.level]
	switch {
	case v.proc:
		layer = "proc"
	case v.broker:
		layer = "unix_sockets"
	}
	if _, told := h.Missing[layer]; !told {
		h.Missing[layer] = why
	}
	if v.level == Full && !v.proc { // what keeps out namespaces keeps out their /proc
		delete(h.Missing, "proc")
	}
}

// noBroker reports whether this kernel has no way to answer for it, and keeps why.
func (h *Host) noBroker() bool {
	err := broker.Supported()
	if err != nil {
		h.Missing["unix_sockets"] = err.Error()
	}
	return err != nil
}

// executablePath is this program, where it is now.
func executablePath() (string, error) { return os.Readlink("/proc/self/exe") }
