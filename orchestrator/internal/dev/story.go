package dev

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// story prints what happens, each line with the time since the one before.
type story struct {
	out io.Writer

	mu   sync.Mutex // guards last and serialises lines
	last time.Time
}

func newStory(out io.Writer) *story { return &story{out: out, last: time.Now()} }

// tell prints one line.
func (s *story) tell(who, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	fmt.Fprintf(s.out, "%10s  %-12s %s\n", "+"+now.Sub(s.last).Round(100*time.Microsecond).String(), who, fmt.Sprintf(format, args...))
	s.last = now
}

// check is one line of the summary: what was promised and what was found.
type check struct {
	what  string
	found string
	ok    bool
}

// summary prints the table of checks and reports whether all of them hold.
func summary(out io.Writer, checks []check, took time.Duration) error {
	missing := 0
	fmt.Fprintf(out, "\n%-62s %s\n", "CHECK", "FOUND")
	for _, c := range checks {
		mark := "ok  "
		if !c.ok {
			mark = "FAIL"
			missing++
		}
		fmt.Fprintf(out, "%s %-57s %s\n", mark, c.what, c.found)
	}
	fmt.Fprintf(out, "\n%d of %d checks hold, %v in all\n", len(checks)-missing, len(checks), took.Round(time.Millisecond))
	if missing > 0 {
		return fmt.Errorf("%d checks do not hold", missing)
	}
	return nil
}
