package seccomp

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// older: every call of this architecture is one of the common ones.
func (r *rules) older() {}

var olderHarmless, olderRefused, olderAbsent, olderHostPaths []uint32
