package seccomp

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// A source is one 32-bit word of struct seccomp_data, masked. BPF compares words,
// not the 64-bit arguments; what the kernel takes as int or unsigned int is wholly
// in the low word.
type source struct {
	offset uint32
	mask   uint32
}

const whole = 1<<32 - 1

// Offsets: struct seccomp_data { int nr; __u32 arch; __u64 ip; __u64 args[6] }, both
// architectures little endian.
var (
	number       = source{0, whole}
	architecture = source{4, whole}
)

func low(arg uint32) source  { return source{16 + 8*arg, whole} }
func high(arg uint32) source { return source{20 + 8*arg, whole} }

func (s source) masked(bits uint32) source { return source{s.offset, bits} }

// A node of the diagram is a verdict or a question with two outcomes.
type node struct {
	leaf    bool
	verdict uint32

	from    source
	op      uint16 // BPF_JEQ, BPF_JGE or BPF_JSET
	k       uint32
	yes, no *node
}

func verdict(v uint32) *node { return &node{leaf: true, verdict: v} }

func errno(e unix.Errno) *node { return verdict(unix.SECCOMP_RET_ERRNO | uint32(e)) }

// A diagram makes nodes, each different one once: equal rules of several calls
// become the same instructions.
type diagram map[node]*node

func (d diagram) ask(n node) *node {
	if n.yes == n.no {
		return n.yes
	}
	if known, ok := d[n]; ok {
		return known
	}
	d[n] = &n
	return &n
}

// equal continues with yes where the word is one of values.
func (d diagram) equal(from source, yes, no *node, values ...uint32) *node {
	for _, v := range values {
		no = d.ask(node{from: from, op: unix.BPF_JEQ, k: v, yes: yes, no: no})
	}
	return no
}

// bits continues with yes where the word has any of them.
func (d diagram) bits(from source, bits uint32, yes, no *node) *node {
	return d.ask(node{from: from, op: unix.BPF_JSET, k: bits, yes: yes, no: no})
}

// null continues with yes where the 64 bits of the argument are zero.
func (d diagram) null(arg uint32, yes, no *node) *node {
	return d.equal(low(arg), d.equal(high(arg), yes, no, 0), no, 0)
}

// A span gives all values from start to the start of the next one the same outcome.
type span struct {
	start uint32
	to    *node
}

// table makes the spans of a word from single values; all others go to rest.
func table(values map[uint32]*node, rest *node) []span {
	spans := make([]span, 0, 2*len(values)+1)
	spans = append(spans, span{0, rest})
	for v, to := range values {
		spans = append(spans, span{v, to})
		if _, ok := values[v+1]; !ok && v != whole {
			spans = append(spans, span{v + 1, rest})
		}
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return merge(spans)
}

// merge drops the spans that repeat their neighbour. Of two with one start the
// later counts.
func merge(spans []span) []span {
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].start == s.start {
			out = out[:n-1]
		}
		if n := len(out); n == 0 || out[n-1].to != s.to {
			out = append(out, s)
		}
	}
	return out
}

// search finds the span of a word by halving: log2 comparisons.
func (d diagram) search(from source, spans []span) *node {
	switch n := len(spans); {
	case n == 1:
		return spans[0].to
	case n == 3 && spans[0].to == spans[2].to && spans[2].start-spans[1].start == 1:
		return d.equal(from, spans[1].to, spans[0].to, spans[1].start)
	default:
		half := n / 2
		return d.ask(node{
			from: from, op: unix.BPF_JGE, k: spans[half].start,
			yes: d.search(from, spans[half:]), no: d.search(from, spans[:half]),
		})
	}
}
