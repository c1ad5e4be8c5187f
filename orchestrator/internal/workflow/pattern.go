package workflow

import (
	"fmt"
	"regexp"
	"strings"
)

// maxPattern is the longest pattern of event types; types themselves are far
// shorter.
const maxPattern = 200

// pattern matches event types, dotted names such as disk.space.high: * stands for
// anything within a segment, ** for anything across segments. Matching takes time
// linear in the type.
type pattern struct{ re *regexp.Regexp }

func compilePattern(s string) (pattern, error) {
	switch {
	case s == "":
		return pattern{}, fmt.Errorf(`is empty: name an event type, for example disk.space.high or disk.**`)
	case len(s) > maxPattern:
		return pattern{}, fmt.Errorf("is %d bytes long, at most %d", len(s), maxPattern)
	case strings.ContainsAny(s, " \t\r\n"):
		return pattern{}, fmt.Errorf("%q holds a space: an event type has none", s)
	case strings.HasPrefix(s, "."), strings.HasSuffix(s, "."), strings.Contains(s, ".."):
		return pattern{}, fmt.Errorf("%q has an empty segment", s)
	case strings.Contains(s, "***"):
		return pattern{}, fmt.Errorf("%q: write * for anything within a segment, ** for anything across segments", s)
	}
	quoted := regexp.QuoteMeta(s)
	quoted = strings.ReplaceAll(quoted, `\*\*`, `.*`)
	quoted = strings.ReplaceAll(quoted, `\*`, `[^.]*`)
	re, err := regexp.Compile(`(?s)^` + quoted + `$`)
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", s, err)
	}
	return pattern{re}, nil
}

// Matcher is whether a pattern, as written, takes events of a type. One that is no pattern
// takes none.
func Matcher(written string) func(eventType string) bool {
	p, err := compilePattern(written)
	if err != nil {
		return func(string) bool { return false }
	}
	return p.match
}

func (p pattern) match(eventType string) bool { return p.re.MatchString(eventType) }
