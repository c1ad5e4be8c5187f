package agent

import (
	"fmt"
	"slices"
	"strings"
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

// A call carries as many lines as it has room for, the next one those that follow, and a remark
// stands where lines are left out.
func TestLinesGoAsFarAsThereIsRoom(t *testing.T) {
	l := newLive()
	for range api.MaxLogLines + 5 {
		l.line(strings.Repeat("\x00", 1000)) // 6,002 bytes as JSON
	}
	var told []string
	take := func() int {
		lines, from, _, changed := l.take()
		if body, err := api.Marshal(lines); err != nil || len(body) > callRoom+len("[]") {
			t.Fatalf("%d bytes at once, %v", len(body), err)
		}
		if from != len(told)+1 || changed != (len(lines) > 0) {
			t.Fatalf("%d lines from %d, changed %v, want them from %d", len(lines), from, changed, len(told)+1)
		}
		told = append(told, lines...)
		return len(lines)
	}
	if n := take(); n != callRoom/6003 {
		t.Errorf("%d lines of 6,003 bytes in a call of %d", n, callRoom)
	}
	l.line("later")
	for take() > 0 {
	}
	if n := api.MaxLogLines - 1; len(told) != n+2 || told[n] != leftOut(6) || told[n+1] != "later" {
		t.Errorf("%d lines, the last %.200q", len(told), told[len(told)-2:])
	}
}

// Lines that nobody takes are said to be left out, and their numbers are not given again.
func TestRefusedLinesKeepTheirNumbers(t *testing.T) {
	l := newLive()
	l.line("a")
	l.line("b")
	lines, _, _, _ := l.take()
	l.line("c")
	l.refused(lines)
	if lines, from := l.rest(); from != 3 || !slices.Equal(lines, []string{leftOut(2), "c"}) {
		t.Errorf("%q from %d", lines, from)
	}
}

// What does not go with the result is left out of it.
func TestTheRestOfManyLines(t *testing.T) {
	l := newLive()
	for range 600 {
		l.line(strings.Repeat("x", 4000))
	}
	lines, _ := l.rest()
	if n := len(lines) - 1; lines[n] != leftOut(600-n) || n != callRoom/4003 {
		t.Errorf("%d lines and %q", n, lines[n])
	}
}
