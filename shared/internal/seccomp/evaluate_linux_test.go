package seccomp

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// call is struct seccomp_data.
type call struct {
	nr   uint32
	arch uint32
	args [6]uint64
}

func (c call) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, c.nr)
	b = binary.LittleEndian.AppendUint32(b, c.arch)
	b = binary.LittleEndian.AppendUint64(b, 0x7f0000001234) // instruction pointer
	for _, a := range c.args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return b
}

// evaluate runs a program as the kernel does, refusing what the kernel's checker
// refuses, and says how many instructions it took.
func evaluate(program []unix.SockFilter, c call) (verdict uint32, steps int, err error) {
	data, acc := c.bytes(), uint32(0)
	for pc := 0; pc < len(program); pc++ {
		i := program[pc]
		steps++
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if i.K%4 != 0 || int(i.K)+4 > len(data) {
				return 0, steps, fmt.Errorf("%d: load of offset %d", pc, i.K)
			}
			acc = binary.LittleEndian.Uint32(data[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&i.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps, nil
		default:
			return 0, steps, fmt.Errorf("%d: code %#x", pc, i.Code)
		}
	}
	return 0, steps, fmt.Errorf("ran off the end")
}

func say(v uint32) string {
	switch v {
	case unix.SECCOMP_RET_ALLOW:
		return "allow"
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "kill"
	case unix.SECCOMP_RET_USER_NOTIF:
		return "notify"
	}
	if v&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		return unix.ErrnoName(unix.Errno(v & unix.SECCOMP_RET_DATA))
	}
	return fmt.Sprintf("%#x", v)
}

func filter(t testing.TB, p Policy) []unix.SockFilter {
	t.Helper()
	program, err := Filter(p)
	if err != nil {
		t.Fatalf("Filter(%+v): %v", p, err)
	}
	return program
}

func decision(t testing.TB, program []unix.SockFilter, nr uint32, args ...uint64) string {
	t.Helper()
	c := call{nr: nr, arch: auditArch}
	copy(c.args[:], args)
	v, _, err := evaluate(program, c)
	if err != nil {
		t.Fatalf("call %d%v: %v", nr, args, err)
	}
	return say(v)
}
