package expr

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// MaxSource is the longest expression, in bytes. A condition that a person can
// read is far shorter, and compiling takes time and memory out of proportion to
// length: 100 KiB took 0.4 s and 170 MB.
const MaxSource = 4 << 10

// maxDepth is how deep an expression may nest; && and || do not count, since CEL
// balances them. The type check takes time by the fourth power of it: two lists of
// 240 levels in a ?: took ten seconds.
const maxDepth = 32

// costLimit bounds one evaluation: about one unit for an operation and one for
// ten bytes of text looked at. It is enough to look at every byte of the largest
// event (64 KiB) a dozen times, and stops nested loops within milliseconds.
const costLimit = 100_000

// regexLimit bounds the compiled size of a pattern, in instructions; a readable
// one has tens. Matching takes time in proportion to it, and a pattern may come
// from an event.
const regexLimit = 500

// bytesPerUnit and patternPerUnit are how CEL itself weighs text and patterns.
const (
	bytesPerUnit   = 10
	patternPerUnit = 4
)

// comparison is what comparing two lists or maps costs, whatever their size: the
// largest there are (a result of 256 KiB) take about as long as this many
// operations, and counting would take as long as comparing.
const comparison = 1000

// toll charges calls by the size of what they look at. CEL's own table is by
// overload, which foreign JSON leaves open until the call: there, joining two
// texts of 60 KiB would cost 1, and 200 joins took 1.2 GB (TestCostIsBounded).
type toll struct{}

// CallCost implements cost.ActualCostEstimator. It is called after the call, so
// one call over the limit is still made.
func (toll) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	cost := uint64(1)
	for _, arg := range args {
		cost += uint64(textSize(arg)) / bytesPerUnit
	}
	switch function {
	case overloads.Matches:
		if len(args) == 2 {
			cost += cost * uint64(textSize(args[1])) / patternPerUnit
		}
	case operators.Add:
		for _, arg := range args {
			cost += itemCount(arg)
		}
	case operators.In:
		cost += itemCount(args[1])
		cost += compared(args[0])
	case operators.Equals, operators.NotEquals:
		cost += compared(args[0])
	}
	return &cost
}

func textSize(v ref.Val) int {
	switch v := v.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	}
	return 0
}

func itemCount(v ref.Val) uint64 {
	if sized, ok := v.(traits.Sizer); ok && textSize(v) == 0 {
		if n, ok := sized.Size().(types.Int); ok {
			return uint64(n)
		}
	}
	return 0
}

func compared(v ref.Val) uint64 {
	switch v.(type) {
	case traits.Lister, traits.Mapper:
		return comparison
	}
	return 0
}
