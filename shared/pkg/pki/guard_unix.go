//go:build unix

package pki

import (
	"fmt"
	"os"
	"syscall"
)

// guardKey makes a private key private. A file that we own is set to mode 0600, as
// ssh demands of its user. One that somebody else owns, such as the mount of a
// Kubernetes Secret, is theirs to set: only if everybody can read it do we warn.
func guardKey(path string) []string {
	info, err := os.Stat(path)
	if err != nil {
		return []string{fmt.Sprintf("private key %s: its mode is unknown: %v", path, err)}
	}
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) == os.Geteuid() && mode&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return []string{fmt.Sprintf("private key %s: has mode %04o and could not be made private: %v; replace it if others use this host", path, mode, err)}
		}
		return []string{fmt.Sprintf("private key %s: had mode %04o and has 0600 now; if others use this host, enrol again", path, mode)}
	}
	if mode&0o004 != 0 {
		return []string{fmt.Sprintf("private key %s: everybody on this host can read it (mode %04o) and it is not ours to change; give it mode 0600, or defaultMode 0400 in a Kubernetes volume", path, mode)}
	}
	return nil
}
