package sandbox

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is a launch: the system calls that a new process makes between clone(2)
// and the plugin's first instruction. The agent compiles it in ordinary Go; the
// child runs it in vfork, where nothing can be allocated, locked or grown.
//
// The child shares the agent's memory until execve(2), so what it finds out is
// simply there when it is gone: which call failed, and why.
type program struct {
	ops    []op
	regs   [maxRegisters]uintptr // results that later calls take as arguments
	used   register              // the highest that is taken; 1 is for results that are used at once
	hold   []any                 // what the calls point to, kept from the garbage collector
	flags  uintptr               // namespaces, as clone(2) names them
	cgroup int                   // descriptor of the v2 group to be born in, -1 without

	failed int           // index of the call that ended the launch, -1 while none did
	errno  syscall.Errno // why it did
}

// register names a result. The zero register is none.
type register int16

// maxRegisters is above what a launch with 64 listeners and 256 grants uses.
const maxRegisters = 511

// op is one system call of a program.
type op struct {
	label string // what it does: an error begins with it
	nr    uintptr
	arg   [6]uintptr
	from  [6]register // where set, the argument is what the register holds
	into  register    // takes the result
	store *int32      // takes the result too: a field of a structure that a later call reads
	judge judge
	want  uintptr
	skip  int // calls that a failure which is passed over takes with it
}

// judge says what becomes of a launch after a call.
type judge uint8

const (
	must    judge = iota // an error ends it
	may                  // an error is passed over
	equals               // any result but want ends it
	failing              // any outcome but the errno want ends it
	ifThere              // an error ends it, unless what the call is about is not there (any more)
)

func newProgram() *program { return &program{used: scratch, cgroup: -1, failed: -1} }

// argument is one argument of a system call.
type argument struct {
	value uintptr
	from  register
}

func num[T ~int | ~int32 | ~uint32 | ~uint64 | ~uintptr](n T) argument {
	return argument{value: uintptr(n)}
}

func result(r register) argument { return argument{from: r} }

// here is AT_FDCWD, which as an unsigned word does not fit the constant's type.
var here = num(unix.AT_FDCWD)

// none is a null pointer.
var none argument

// pointer passes memory that stays where it is until the launch is over.
func pointer[T any](p *program, v *T) argument {
	p.hold = append(p.hold, v)
	return argument{value: uintptr(unsafe.Pointer(v))}
}

// text passes a string, NUL-terminated. The callers' strings have no NUL: Spec is
// checked for it.
func (p *program) text(s string) argument {
	b := append([]byte(s), 0)
	return pointer(p, &b[0])
}

// bytes passes a buffer and its length.
func (p *program) bytes(s string) (data, length argument) {
	return p.text(s), num(len(s))
}

// call appends a system call that must succeed. The op may be changed until the
// next one is appended.
func (p *program) call(label string, nr uintptr, args ...argument) *op {
	o := op{label: label, nr: nr}
	for i, a := range args {
		o.arg[i], o.from[i] = a.value, a.from
	}
	p.ops = append(p.ops, o)
	return &p.ops[len(p.ops)-1]
}

// try appends a system call whose failure is passed over.
func (p *program) try(nr uintptr, args ...argument) *op {
	o := p.call("", nr, args...)
	o.judge = may
	return o
}

// scratch is the register of results that the next calls use up.
const scratch register = 1

// scratch puts the result where the next one overwrites it.
func (p *program) scratch(o *op) register {
	o.into = scratch
	return scratch
}

// keep gives the result a register of its own.
func (p *program) keep(o *op) register {
	p.used++
	o.into = p.used
	return p.used
}

// writeFile writes text to a file that exists.
func (p *program) writeFile(label, path, content string) {
	fd := p.scratch(p.call(label, unix.SYS_OPENAT, here, p.text(path), num(unix.O_WRONLY|unix.O_CLOEXEC)))
	data, length := p.bytes(content)
	p.call(label, unix.SYS_WRITE, result(fd), data, length)
	p.call(label, unix.SYS_CLOSE, result(fd))
}

// err says which call failed, after the child is gone.
func (p *program) err() error {
	if p.failed < 0 {
		return nil
	}
	o := &p.ops[p.failed]
	if o.nr == unix.SYS_EXECVE {
		return execError(p.errno)
	}
	if p.errno == 0 {
		return fmt.Errorf("%s: it is not so", o.label)
	}
	return fmt.Errorf("%s: %w", o.label, p.errno)
}
