package telemetry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// canaries have what encoders change: quotes, slashes, HTML, control characters,
// letters outside ASCII, several lines.
var canaries = []string{
	"hunter2-hunter2", `p"a\s's<w>&rd`, "tab\tand\x01bell", "pässwörd €", "a+b/c=d e?f", "first line of it\nsecond line of it",
}

func TestSecretsDoNotReachTheLog(t *testing.T) {
	for _, secret := range canaries {
		for _, format := range []string{"json", "text"} {
			var out bytes.Buffer
			r := new(Redactor)
			r.Add(secret)
			log, _, err := NewLogger(LogOptions{Level: "info", Format: format, Output: "stdout", Stdout: &out, Redactor: r})
			if err != nil {
				t.Fatal(err)
			}
			nested, err := json.Marshal(map[string][]string{"list": {secret}})
			if err != nil {
				t.Fatal(err)
			}
			log.Info("with "+secret, "plain", secret, KeyError, errors.New("login "+secret), slog.Group("g", "list", []string{secret}),
				"url", "https://h/?t="+url.QueryEscape(secret), "path", "https://h/"+url.PathEscape(secret),
				"basic", base64.StdEncoding.EncodeToString([]byte(secret)), "nested", json.RawMessage(nested), "text", string(nested), "go", fmt.Sprintf("%q", secret))
			for _, form := range append(strings.Split(secret, "\n"), secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), strings.TrimSuffix(strings.TrimPrefix(string(nested), `{"list":["`), `"]}`)) {
				if strings.Contains(out.String(), form) {
					t.Errorf("%s: %q of %q is in %s", format, form, secret, &out)
				}
			}
			if n := strings.Count(out.String(), Redacted); n < 9 {
				t.Errorf("%s: %q is replaced %d times, want 9 or more: %s", format, secret, n, &out)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	var none *Redactor
	if got := none.Redact("text"); got != "text" {
		t.Errorf("nil Redactor: %q", got)
	}
	r := new(Redactor)
	r.Add("short")
	r.Add("")
	r.Add("secret")
	r.Add("secret-and-more")
	r.Add("secret")
	r.Add("line-one\r\nline-two\r\n")
	for in, want := range map[string]string{
		"short":                     "short",
		"a secret":                  "a [redacted]",
		"a secret-and-more b":       "a [redacted] b",
		"secretsecret":              "[redacted][redacted]",
		"PEM:\nsecret\nsecre\ntext": "PEM:\n[redacted]\nsecre\ntext",
		"one line-one alone":        "one [redacted] alone",
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedactorIsSafeForConcurrentUse(t *testing.T) {
	r := new(Redactor)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			secret := fmt.Sprintf("canary-%d", i)
			r.Add(secret)
			if got := r.Redact(secret); got != Redacted {
				t.Errorf("%q stays %q after Add", secret, got)
			}
		})
	}
	wg.Wait()
}

// What basic authentication, dumps and Python's JSON make of a secret is masked too.
func TestFormsWithinLongerTexts(t *testing.T) {
	const secret = "pässwörd-1234"
	r := new(Redactor)
	r.Add(secret)
	for before := range 5 {
		text := strings.Repeat("u", before) + ":" + secret + ":more"
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
			form := alphabet.EncodeToString([]byte(text))
			if got := r.Redact(form); !strings.Contains(got, Redacted) || len(got)-len(Redacted) > len(form)-len(secret) {
				t.Errorf("%d before it: %s", before, got)
			}
		}
	}
	for _, form := range []string{hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))), `p\u00e4ssw\u00f6rd-1234`} {
		if got := r.Redact("x" + form); got != "x"+Redacted {
			t.Errorf("%s: %s", form, got)
		}
	}
}

func TestRedactJSON(t *testing.T) {
	r := new(Redactor)
	if got := string(r.RedactJSON([]byte(`{"a":1}`))); got != `{"a":1}` {
		t.Errorf("without secrets: %s", got)
	}
	r.Add("secret-1")
	r.Add("987654321")
	r.Add(`a":"b"}`)
	for in, want := range map[string]string{
		`{"b": 1.0, "a":"x"}`:                                `{"b": 1.0, "a":"x"}`, // byte by byte
		`{"a":["secret-1",{"secret-1":{"b":"x"}}],"n":1.50}`: `{"a":["[redacted]",{"[redacted]":{"b":"x"}}],"n":1.50}`,
		`"\u0073ecret-1"`:                                    `"[redacted]"`,
		`{"n":987654321}`:                                    `{"n":"[redacted]"}`,
		`{"a":"b"}`:                                          `{"a":"b"}`,
		`not JSON secret-1`:                                  `"not JSON [redacted]"`,
		``:                                                   ``,
	} {
		if got := string(r.RedactJSON([]byte(in))); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}
