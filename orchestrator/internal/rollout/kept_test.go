package rollout

import "testing"

// A version that waits, or begins with one agent, before the first has completed takes the
// first from nobody.
func TestNothingIsTakenAwayByANewerVersion(t *testing.T) {
	f := newFleet(t, 20, version("1.0.0"))
	f.after(0)
	first := f.members[0].Agent
	if got := f.state.For(first); got.Version != "1.0.0" {
		t.Fatalf("the first agent is to have %v", got)
	}
	f.best, f.missing = version("1.1.0"), "it asks for more"
	f.after(1)
	if got := f.state.For(first); f.state.Phase != Waiting || got.Version != "1.0.0" || !f.state.Has("sha256:1.0.0") {
		t.Errorf("while 1.1.0 waits the first agent is to have %v", got)
	}
	if got := f.state.For(f.members[1].Agent); !got.IsZero() {
		t.Errorf("one that had nothing is to have %v", got)
	}
	f.missing = ""
	f.after(1)
	if got := f.state.For(first); got.Version != "1.1.0" {
		t.Errorf("approved: the first agent is to have %v", got)
	}
	f.best = version("1.2.0")
	f.members[0].Online = false // the next one begins
	f.after(1)
	if got := f.state.For(first); got.Version != "1.1.0" {
		t.Errorf("while another begins with 1.2.0 it is to have %v", got)
	}
	f.best = Release{}
	f.after(1)
	if got := f.state.For(first); !got.IsZero() || len(f.state.Kept) > 0 {
		t.Errorf("nothing is in range, and it is to have %v", got)
	}
}
