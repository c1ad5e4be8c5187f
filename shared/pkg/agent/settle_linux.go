package agent

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// maxOwnMaps bounds the list of this process's mappings: it has a hundred.
const maxOwnMaps = 1 << 20

// unmapProgram lets go of the program's pages in memory. What goes on running comes back
// at its next use, from the page cache; what only ran at the start (it is most of the
// program) does not. Nothing is lost where it fails.
func unmapProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := limits.ReadFile("/proc/self/maps", maxOwnMaps)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != program || f[1][1] != '-' { // what is writable holds data of its own
			continue
		}
		first, last, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(first, 16, 64)
		end, err2 := strconv.ParseUint(last, 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
