package telemetry

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf16"
	"unicode/utf8"
)

// Redacted stands where a secret was.
const Redacted = "[redacted]"

// minSecret is the shortest value that is looked for: a shorter one stands in
// every other word, and its replacement would tell where it did.
const minSecret = 6

// Redactor replaces secrets by their value, wherever they turn up: a key's name
// says little about what a plugin prints. The zero value knows none. It may be
// used concurrently; one for the whole process is meant.
type Redactor struct {
	mu       sync.Mutex // guards forms, and the order in which replacers are stored
	forms    []string   // longest first, so that a secret within another does not leave its rest
	replacer atomic.Pointer[strings.Replacer]
}

// Add makes secret unprintable, in itself and as it stands in JSON, a Go string, a
// URL, hexadecimal and base64, there also within a longer text such as "user:secret"; of one with several lines, such as a PEM key, each line too,
// because logs are written by the line. Values of fewer than 6 bytes are passed
// over. Adding one again changes nothing.
func (r *Redactor) Add(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, part := range append(strings.Split(secret, "\n"), secret) {
		if part = strings.TrimSuffix(part, "\r"); len(part) >= minSecret {
			r.forms = append(r.forms, encodings(part)...)
		}
	}
	slices.SortFunc(r.forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	r.forms = slices.Compact(r.forms)
	pairs := make([]string, 0, 2*len(r.forms))
	for _, form := range r.forms {
		pairs = append(pairs, form, Redacted)
	}
	r.replacer.Store(strings.NewReplacer(pairs...))
}

// encodings are the forms in which a secret is likely to be met. Quoted twice is
// how one arrives in a log that holds JSON as text.
func encodings(secret string) []string {
	forms := []string{
		secret,
		url.QueryEscape(secret),
		url.PathEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)),
		base64.URLEncoding.EncodeToString([]byte(secret)),
		hex.EncodeToString([]byte(secret)),
		strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	forms = append(forms, within64(secret)...)
	for _, once := range quoted(secret) {
		forms = append(append(forms, once), quoted(once)...)
	}
	return forms
}

// within64 are the characters that a secret alone decides of the base64 of any text that it
// stands in, at each of the three places where it can begin.
func within64(secret string) []string {
	var forms []string
	for before := range 3 {
		text := append(make([]byte, before), secret...)
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			form := alphabet.EncodeToString(text)[(8*before+5)/6 : 8*len(text)/6]
			if len(form) >= minSecret {
				forms = append(forms, form)
			}
		}
	}
	return forms
}

// quoted is what stands between the quotes when s is written as a Go string, as
// JSON, as JSON that is safe in HTML, and as JSON in ASCII as Python writes it.
func quoted(s string) []string {
	var plain, html strings.Builder
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	// A string always has a JSON form, and a Builder takes every write.
	_ = enc.Encode(s)
	_ = json.NewEncoder(&html).Encode(s)
	return []string{unquote(strconv.Quote(s)), unquote(plain.String()), unquote(html.String()), ascii(unquote(plain.String()))}
}

// ascii escapes what is not ASCII in a JSON string.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

func unquote(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[1 : len(s)-1]
}

// Redact returns s without secrets.
func (r *Redactor) Redact(s string) string {
	if r == nil {
		return s
	}
	if replacer := r.replacer.Load(); replacer != nil {
		return replacer.Replace(s)
	}
	return s
}
