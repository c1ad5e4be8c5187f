package telemetry

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// lines makes one line of every Write: without secrets, without anything that is
// not printable, with one newline at its end.
type lines struct {
	redactor *Redactor // may be nil

	mu sync.Mutex // guards to; held for a line or a change of destinations
	to []io.Writer
}

// swap changes the destinations between two lines, and closes what was open for the old.
func (l *lines) swap(to []io.Writer, open *io.Closer, next io.Closer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := *open
	l.to, *open = to, next
	return was.Close()
}

// Write writes the line to every destination, also when one of them fails.
func (l *lines) Write(p []byte) (int, error) {
	line := l.redactor.Redact(strings.TrimSuffix(string(p), "\n"))
	out := append(escape(make([]byte, 0, len(line)+1), line), '\n')
	var errs []error
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.to {
		if _, err := w.Write(out); err != nil {
			errs = append(errs, err)
		}
	}
	return len(p), errors.Join(errs...)
}

// escape appends s with every rune that is neither printable nor a tab as \uXXXX,
// which is also how JSON says it. A byte that is no UTF-8 becomes \ufffd.
func escape(dst []byte, s string) []byte {
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\t' || unicode.IsPrint(r):
			dst = append(dst, s[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		s = s[size:]
	}
	return dst
}
