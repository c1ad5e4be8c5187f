package seccomp

import (
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	allow   = verdict(unix.SECCOMP_RET_ALLOW)
	kill    = verdict(unix.SECCOMP_RET_KILL_PROCESS)
	notify  = verdict(unix.SECCOMP_RET_USER_NOTIF)
	denied  = errno(unix.EPERM)
	noEntry = errno(unix.EACCES) // sockets: what socket(2) and connect(2) say of a rule
	missing = errno(unix.ENOSYS)
)

// Numbers from x32Bit on, as signed, are calls of the x32 ABI, which the kernel
// reports as the 64-bit architecture.
const (
	x32Bit   = 0x40000000
	negative = 0x80000000
)

// made remembers programs by policy: there are a few dozen, and a launch needs one.
var made sync.Map

// Filter returns the program that holds a process of this architecture to p, for
// seccomp(SECCOMP_SET_MODE_FILTER). It may be called concurrently; the program is
// the caller's.
func Filter(p Policy) ([]unix.SockFilter, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	if program, ok := made.Load(p); ok {
		return slices.Clone(program.([]unix.SockFilter)), nil
	}
	program, err := build(p)
	if err != nil {
		return nil, err
	}
	made.Store(p, slices.Clone(program))
	return program, nil
}

func build(p Policy) ([]unix.SockFilter, error) {
	r := rules{Policy: p, diagram: diagram{}, calls: make(map[uint32]*node, 512)}
	r.lists()
	r.arguments()
	r.older()
	if len(r.twice) > 0 {
		return nil, fmt.Errorf("seccomp policy: calls %v are decided twice", r.twice)
	}
	native := r.search(number, merge(append(table(r.calls, missing), span{x32Bit, kill}, span{negative, missing})))
	return assemble(r.equal(architecture, native, kill, auditArch))
}

// rules collects the decision for every call.
type rules struct {
	Policy
	diagram
	calls map[uint32]*node
	twice []uint32
}

func (r *rules) decide(n *node, calls ...uint32) {
	for _, c := range calls {
		if _, ok := r.calls[c]; ok {
			r.twice = append(r.twice, c)
		}
		r.calls[c] = n
	}
}

// lists decides the calls whose arguments do not matter.
func (r *rules) lists() {
	r.decide(allow, harmless...)
	r.decide(denied, refused...)
	r.decide(missing, absent...)
	r.decide(r.hostPath(allow), hostPaths...)
}

// unless gives otherwise where what would hold the call does not.
func (r *rules) unless(held bool, otherwise *node) *node {
	if held {
		return allow
	}
	return otherwise
}

// hostPath is n where paths name only what the process owns.
func (r *rules) hostPath(n *node) *node {
	if r.Namespaced {
		return n
	}
	return denied
}
