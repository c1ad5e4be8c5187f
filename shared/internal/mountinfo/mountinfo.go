// Package mountinfo reads proc_pid_mountinfo(5), the kernel's list of what is mounted
// where. It owns the format and nothing else: a line that it does not understand is
// left out, so that what a later kernel adds breaks nobody. Its functions are pure.
package mountinfo

import (
	"strconv"
	"strings"
)

// Mount is one line.
type Mount struct {
	Device string // of the file system, major:minor
	Root   string // what of the file system is mounted
	Point  string // where
	Type   string // of file system, for example ext4
	Super  string // options of the file system, separated by commas
}

// Parse gives the mounts in the order of the list, in which one that covers another
// comes later.
func Parse(table string) []Mount {
	var out []Mount
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ") // optional fields end there
		f, g := strings.Fields(before), strings.Fields(after)
		if ok && len(f) >= 5 && len(g) >= 3 {
			out = append(out, Mount{Device: f[2], Root: unescape(f[3]), Point: unescape(f[4]), Type: g[0], Super: g[2]})
		}
	}
	return out
}

// unescape gives back what the kernel writes as \ooo: space, tab, line feed and
// backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
