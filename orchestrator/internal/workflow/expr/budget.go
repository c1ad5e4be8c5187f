package expr

import "fmt"

// EvaluationLimit is what one evaluation may cost, in operations; see costLimit.
const EvaluationLimit = costLimit

// budgetKey is where [Values] hold a budget; no expression can name it.
const budgetKey = "\x00budget"

// Budget bounds what several evaluations cost together, where each is bounded by itself: one
// that begins within it is made. nil bounds nothing. It is for one goroutine at a time.
type Budget struct {
	whole *Budget // that it is a part of; nil: of none
	of    string
	limit uint64
	spent uint64
	ended func() error
}

// NewBudget is one for as many operations. of says what evaluates, in words to stand after "of".
// ended says why nobody waits for it any more; nil: that does not happen.
func NewBudget(of string, operations uint64, ended func() error) *Budget {
	return &Budget{of: of, limit: operations, ended: ended}
}

// Part is a budget within b, which pays for it too.
func (b *Budget) Part(of string, operations uint64) *Budget {
	return &Budget{whole: b, of: of, limit: operations}
}

// Raise lets it cost more.
func (b *Budget) Raise(operations uint64) { b.limit += operations }

// Over says why nothing more is evaluated, in a sentence.
func (b *Budget) Over() error {
	for ; b != nil; b = b.whole {
		if b.ended != nil {
			if err := b.ended(); err != nil {
				return err
			}
		}
		if b.spent >= b.limit {
			return fmt.Errorf("the expressions of %s cost more than %d operations together: compute it in a plugin, or split the workflow", b.of, b.limit)
		}
	}
	return nil
}

func (b *Budget) spend(operations uint64) {
	for ; b != nil; b = b.whole {
		b.spent += operations
	}
}

// Within has evaluations with these values paid from a budget. It returns v.
func (v Values) Within(b *Budget) Values {
	v[budgetKey] = b
	return v
}
