package kit

import (
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Verdict is how a trial ended.
type Verdict string

// The verdicts. A card without failed passes.
const (
	Passed  Verdict = "passed"
	Warned  Verdict = "warned"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
)

// Check is one line of a card.
type Check struct {
	Name    string   `json:"name"`
	Verdict Verdict  `json:"verdict"`
	Detail  string   `json:"detail"`          // one sentence
	Notes   []string `json:"notes,omitempty"` // what it was, and what to do
	Seconds float64  `json:"seconds"`
}

// fail, warn and note say what is wrong, to think about, or to know. A verdict only gets
// worse.
func (c *Check) fail(format string, args ...any) {
	c.Verdict = Failed
	c.note(format, args...)
}

func (c *Check) warn(format string, args ...any) {
	if c.Verdict != Failed {
		c.Verdict = Warned
	}
	c.note(format, args...)
}

func (c *Check) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Card is what is known of a plugin after a test.
type Card struct {
	Plugin   api.PluginID `json:"plugin"`
	Version  string       `json:"version"`
	Digest   string       `json:"digest"`
	Type     string       `json:"type"`
	Contract string       `json:"contract"`
	Sandbox  string       `json:"sandbox"`
	Python   string       `json:"python,omitempty"`
	Passed   bool         `json:"passed"`
	Checks   []*Check     `json:"checks"`

	// Permissions is the section that the manifest would need for what was refused; empty
	// where nothing was.
	Permissions string  `json:"suggested_permissions,omitempty"`
	Seconds     float64 `json:"seconds"`

	ended func(*Check) // hears of each line when it is complete; may be nil
}

// begin adds a line; the function that it returns ends it, with one sentence. Nothing is
// noted of it after that.
func (c *Card) begin(name string) (*Check, func(format string, args ...any)) {
	check, began := &Check{Name: name, Verdict: Passed}, time.Now()
	c.Checks = append(c.Checks, check)
	return check, func(format string, args ...any) {
		check.Detail = fmt.Sprintf(format, args...)
		check.Seconds = time.Since(began).Seconds()
		c.tell(check)
	}
}

func (c *Card) tell(check *Check) {
	if c.ended != nil {
		c.ended(check)
	}
}

func (c *Card) skip(why string, names ...string) {
	for _, name := range names {
		check := &Check{Name: name, Verdict: Skipped, Detail: why}
		c.Checks = append(c.Checks, check)
		c.tell(check)
	}
}

// count is how many checks ended so.
func (c *Card) count(v Verdict) int {
	n := 0
	for _, check := range c.Checks {
		if check.Verdict == v {
			n++
		}
	}
	return n
}

// failed names what did.
func (c *Card) failed() string {
	var names []string
	for _, check := range c.Checks {
		if check.Verdict == Failed {
			names = append(names, check.Name)
		}
	}
	return strings.Join(names, ", ")
}

var marks = map[Verdict]string{Passed: "ok", Warned: "warn", Failed: "FAIL", Skipped: "skip"}

// printHead, printCheck and printEnd write the card for people, as it becomes known.
func (c *Card) printHead(p *printer) {
	p.printf("%s %s · %s, contract %s · sandbox %s\n\n", string(c.Plugin), c.Version, c.Type, c.Contract, c.Sandbox)
}

func (check *Check) print(p *printer) {
	p.printf("%-4s  %-11s  %s\n", marks[check.Verdict], check.Name, check.Detail)
	for _, note := range check.Notes {
		for _, line := range lines(note) {
			p.printf("%-4s  %-11s    %s\n", "", "", line)
		}
	}
}

func (c *Card) printEnd(p *printer) {
	p.printf("\nscore  %d of %d passed", c.count(Passed), len(c.Checks)-c.count(Skipped))
	for _, v := range []Verdict{Warned, Failed, Skipped} {
		if n := c.count(v); n > 0 {
			p.printf(", %d %s", n, string(v))
		}
	}
	p.printf("   in %.1f s\n", c.Seconds)
	if c.Permissions != "" {
		p.printf("\nWhat was refused would need, in plugin.yaml:\n\n%s", c.Permissions)
	}
}
