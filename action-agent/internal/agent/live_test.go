package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Lines keep their numbers, however often they are handed over: the orchestrator tells by them
// which it has, where its answer was lost.
func TestLinesKeepTheirNumbers(t *testing.T) {
	l := newLive()
	handsOver := func(from int, want ...string) []string {
		t.Helper()
		lines, first, _, _ := l.take()
		if first != from || !slices.Equal(lines, want) {
			t.Fatalf("handed over %q from %d, want %q from %d", lines, first, want, from)
		}
		return lines
	}
	l.line("a")
	l.line("b")
	lost := handsOver(1, "a", "b")
	l.line("c")
	l.giveBack(lost)
	handsOver(1, "a", "b", "c")
	l.line("d")
	l.giveBack(handsOver(4, "d"))
	if lines, from := l.rest(); from != 4 || !slices.Equal(lines, []string{"d"}) {
		t.Errorf("the result has %q from %d, want the line that was given back", lines, from)
	}

	// As many as a report may have, and a remark about what is left out.
	for n := range api.MaxLogLines {
		l.line(fmt.Sprint(n))
	}
	lines, from, _, _ := l.take()
	if from != 5 || len(lines) != api.MaxLogLines {
		t.Fatalf("%d lines from %d", len(lines), from)
	}
	l.giveBack(lines)
	l.line("more")
	if again, from, _, _ := l.take(); from != 5 || !slices.Equal(again[:len(again)-1], lines[:len(lines)-1]) {
		t.Errorf("%d lines from %d, want those before again", len(again), from)
	}
}
