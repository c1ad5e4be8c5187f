package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/workflow"
)

func TestCompiledVersionsAreBounded(t *testing.T) {
	var p programs
	compiles := 0
	look := func(version int) {
		t.Helper()
		_, err := p.compiled(versionKey{"o", "w", version}, func() (*workflow.Definition, error) {
			compiles++
			return &workflow.Definition{Name: fmt.Sprint(version)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.hold("o", []program{{"w", 1, &workflow.Definition{}}})
	for version := range 2 * maxVersions {
		look(version)
		look(0) // which is used all the time
	}
	if n := len(p.versions); n != maxVersions {
		t.Errorf("%d versions are kept, want %d", n, maxVersions)
	}
	compiles = 0
	for _, version := range []int{0, 1, 2*maxVersions - 1} {
		if look(version); compiles > 0 {
			t.Errorf("version %d is compiled again", version)
		}
	}
	if look(2); compiles != 1 {
		t.Error("the version used least recently is still there")
	}
	p.hold("o", nil)
	if p.known(versionKey{"o", "w", 1}) == nil || len(p.versions) > maxVersions {
		t.Errorf("of %d versions the one that was in effect is gone: runs go on with it", len(p.versions))
	}
}

// What one organisation has compiled holds up no other, and a failure is not kept.
func TestCompilingHoldsUpNobodyElse(t *testing.T) {
	var p programs
	mine, other := versionKey{"a", "w", 1}, versionKey{"b", "w", 1}
	_, err := p.compiled(mine, func() (*workflow.Definition, error) {
		if p.known(mine) != nil {
			t.Error("it is known before it is compiled")
		}
		_, err := p.compiled(other, func() (*workflow.Definition, error) { return &workflow.Definition{}, nil })
		return nil, errors.Join(err, errors.New("it is not good"))
	})
	if err == nil || err.Error() != "it is not good" {
		t.Fatal(err)
	}
	if _, err := p.compiled(mine, func() (*workflow.Definition, error) { return &workflow.Definition{}, nil }); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// A compilation that panics leaves an error for who waits for it, never a version that does
// nothing, and the next one compiles it again.
func TestAPanicLeavesNoEmptyVersion(t *testing.T) {
	var p programs
	key := versionKey{"o", "w", 1}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is hidden")
			}
		}()
		_, _ = p.compiled(key, func() (*workflow.Definition, error) { panic("a fault of the compiler") })
	}()
	good := func() (*workflow.Definition, error) { return &workflow.Definition{Name: "good"}, nil }
	if d, err := p.compiled(key, good); err == nil || d != nil || p.known(key) != nil {
		t.Errorf("who waited for it gets %v, %v, want an error", d, err)
	}
	if d, err := p.compiled(key, good); err != nil || d.Name != "good" {
		t.Errorf("the next one gets %v, %v", d, err)
	}
}
