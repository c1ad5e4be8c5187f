//go:build unix

package sandbox

var (
	homeNames         = []string{"HOME"}
	tempNames         = []string{"TMPDIR"}
	platformInherited []string
)

// defaultPath is the search path of a root login on Debian: it finds the tools of
// /usr/sbin that action plugins call.
func defaultPath() string {
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
