package warm

import "testing"

// A zygote that was evicted goes when its last execution has ended. By then the plan may
// have another, which stays known.
func TestOneThatGoesLateTakesNoOtherWithIt(t *testing.T) {
	p := New(Options{})
	former, latter := &zygote{}, &zygote{}
	e := &entry{zygote: latter}
	p.dismiss(e, former, Evicted)
	if e.zygote != latter {
		t.Error("the other one is forgotten")
	}
	p.dismiss(e, latter, Idle)
	if e.zygote != nil {
		t.Error("one that is gone is still known")
	}
}
