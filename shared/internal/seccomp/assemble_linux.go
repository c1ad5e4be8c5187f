package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// An entry is a place to enter a node: with its word already loaded by the question
// before (most steps of a search), or not.
type entry struct {
	*node
	loaded bool
}

// An assembler writes a program backwards, so that where a jump leads is known when
// it is written. BPF jumps only forwards, and conditionally by at most 255.
type assembler struct {
	code    []unix.SockFilter // the last instruction first
	entries map[entry]int     // index in code
	wanted  map[entry]bool
}

const maxJump = 255

// assemble returns the program of the diagram below root.
func assemble(root *node) ([]unix.SockFilter, error) {
	a := assembler{entries: map[entry]int{}, wanted: map[entry]bool{}}
	first := entry{root, false}
	a.want(first)
	a.write(root)
	if at := a.entries[first]; at != len(a.code)-1 {
		a.jump(first)
	}
	if len(a.code) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("seccomp program of %d instructions: the kernel takes %d", len(a.code), unix.BPF_MAXINSNS)
	}
	slices.Reverse(a.code)
	return a.code, nil
}

// follow returns the entry by which the question of n goes on to next.
func (n *node) follow(next *node) entry {
	return entry{next, next.leaf || next.from == n.from}
}

// want notes every entry that is used, so that no load is written in vain.
func (a *assembler) want(e entry) {
	if a.wanted[e] {
		return
	}
	a.wanted[e] = true
	if !e.leaf {
		a.want(e.follow(e.yes))
		a.want(e.follow(e.no))
	}
}

// write emits n below what is there, after all that follows it.
func (a *assembler) write(n *node) {
	if _, ok := a.entries[entry{n, true}]; ok {
		return
	}
	if n.leaf {
		a.emit(n, true, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: n.verdict})
		a.entries[entry{n, false}] = a.entries[entry{n, true}]
		return
	}
	a.write(n.yes)
	a.write(n.no)
	yes, no := n.follow(n.yes), n.follow(n.no)
	a.bring(yes, 1) // the one for no may come between
	a.bring(no, 0)
	here := len(a.code)
	a.emit(n, true, unix.SockFilter{
		Code: unix.BPF_JMP | n.op | unix.BPF_K, K: n.k,
		Jt: uint8(here - a.entries[yes] - 1), Jf: uint8(here - a.entries[no] - 1),
	})
	if a.wanted[entry{n, false}] {
		a.load(n)
	}
}

func (a *assembler) emit(n *node, loaded bool, i unix.SockFilter) {
	a.entries[entry{n, loaded}] = len(a.code)
	a.code = append(a.code, i)
}

func (a *assembler) load(n *node) {
	if n.from.mask != whole {
		a.code = append(a.code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: n.from.mask})
	}
	a.emit(n, false, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: n.from.offset})
}

// bring makes e reachable by a conditional jump that is written after at most
// further instructions.
func (a *assembler) bring(e entry, further int) {
	if len(a.code)+further-a.entries[e]-1 <= maxJump {
		return
	}
	if e.leaf {
		a.emit(e.node, e.loaded, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: e.verdict})
		return
	}
	a.jump(e)
}

func (a *assembler) jump(e entry) {
	distance := len(a.code) - a.entries[e] - 1
	a.emit(e.node, e.loaded, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(distance)})
}
