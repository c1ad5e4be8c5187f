package sandbox

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/seatbelt"
)

// spareDir would be in memory, which has no directory here.
const spareDir = ""

// key names everything that a result depends on: the system, this program, and its
// rights.
func (o ProbeOptions) key() string {
	h := fnv.New128a()
	for _, name := range []string{"kern.version", "kern.osproductversion"} {
		value, _ := unix.Sysctl(name) // what is not there is the same as ever
		fmt.Fprintln(h, value)
	}
	var st unix.Stat_t
	if path, err := executablePath(); err == nil {
		_ = unix.Stat(path, &st)
	}
	fmt.Fprint(h, st.Dev, st.Ino, st.Size, st.Mtim, os.Geteuid(), o.Highest, o.Dir)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// probe tries the profile of package seatbelt, which is all that there is. Without it
// the limits and the death of the tree are left.
func (o ProbeOptions) probe(ctx context.Context) (*Host, error) {
	h := &Host{Level: None, Missing: map[string]string{}}
	if release, err := unix.Sysctl("kern.osrelease"); err == nil {
		h.Kernel = release
	}
	b, err := openBait(o.Dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, v := range []variant{{level: Confined}, {level: Limited}} {
		if o.Highest != "" && !o.Highest.AtLeast(v.level) {
			continue
		}
		checks, err := b.try(ctx, o, *h, v)
		h.Checks = append(h.Checks, checks...)
		why := failure(checks, err)
		if why == "" {
			h.Level = v.level
			break
		}
		if v.level == Confined {
			h.Missing["seatbelt"] = seatbelt.Program + ": " + why
		}
	}
	return h, ctx.Err()
}

// executablePath is this program. A file that was replaced since the start is found as
// the new one; the order between both is plain JSON that new versions may only add to.
func executablePath() (string, error) { return os.Executable() }
