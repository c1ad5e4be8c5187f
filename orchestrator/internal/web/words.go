package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// words are what templates say things with.
func words(a assets) template.FuncMap {
	return template.FuncMap{
		"asset":    a.url,
		"time":     clock,
		"took":     took,
		"bytes":    size,
		"kind":     kind,
		"pretty":   pretty,
		"clip":     clip,
		"plural":   plural,
		"short":    short,
		"add":      func(a, b int) int { return a + b },
		"oneline":  oneline,
		"dict":     dict,
		"join":     func(list []string) string { return strings.Join(list, ", ") },
		"platform": func(s *api.Posture) string { return s.String() },
	}
}

// instant is a time as a page shows it: when it was, and in the title how long ago.
type instant struct {
	Machine, Text, Title string
}

// clock shows a time; the zero time is a dash.
func clock(t any) instant {
	var at time.Time
	switch t := t.(type) {
	case time.Time:
		at = t
	case api.Time:
		at = t.Time
	}
	if at.IsZero() {
		return instant{Text: "–"}
	}
	at = at.UTC()
	now := time.Now().UTC()
	text := at.Format("2 Jan 2006 15:04")
	switch {
	case at.Year() == now.Year() && at.YearDay() == now.YearDay():
		text = at.Format("15:04:05")
	case at.Year() == now.Year():
		text = at.Format("2 Jan 15:04")
	}
	return instant{Machine: at.Format(time.RFC3339Nano), Text: text, Title: at.Format("Mon 2 Jan 2006 15:04:05 UTC") + ", " + relative(now.Sub(at))}
}

// relative says how far a time is away, to the minute: a page is not another one every second.
func relative(d time.Duration) string {
	words := func(d time.Duration) string {
		switch {
		case d < time.Minute:
			return "less than a minute"
		case d < time.Hour:
			return plural(int(d.Minutes()), "minute")
		case d < 48*time.Hour:
			return plural(int(d.Hours()), "hour")
		}
		return plural(int(d.Hours()/24), "day")
	}
	if d < 0 {
		return "in " + words(-d)
	}
	return words(d) + " ago"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// took is how long something took, from one time to another; so far, while it has not ended.
func took(from, to time.Time) string {
	switch {
	case from.IsZero():
		return "–"
	case to.IsZero():
		return "since " + clock(from).Text
	}
	return duration(to.Sub(from))
}

func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func size(n int64) string {
	const unit = 1000
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, units := float64(n), "kMGT"
	i := -1
	for value >= unit && i < len(units)-1 {
		value /= unit
		i++
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + units[i:i+1] + "B"
}

// kind is which shape and colour stand for a state: ok, bad, warn, go, wait or off.
func kind(state any) string {
	switch fmt.Sprint(state) {
	case "completed", "online", "ok", "ready", "met", "live", "used", "approved", "active", "idle", "enforced", "passed", "info":
		return "ok"
	case "failed", "timeout", "lost", "failing", "refused", "rejected", "expired", "stopped", "error", "critical":
		return "bad"
	case "escalated", "interrupted", "degraded", "waiting for people", "asking", "high", "warn", "retrying", "draining", "quarantined", "approval needed", "not approved", "backoff":
		return "warn"
	case "running", "executing", "rolling", "starting", "loading":
		return "go"
	case "queued", "pending", "offered", "dispatched", "waiting", "awaiting", "choosing", "unused", "medium", "shadow", "undecided":
		return "wait"
	}
	return "off"
}

// pretty is a JSON document over several lines.
func pretty(v any) (string, error) {
	var raw []byte
	switch v := v.(type) {
	case json.RawMessage:
		raw = v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("show a value: %w", err)
		}
		raw = text
	}
	if len(raw) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw), nil // what it is, as it came
	}
	return readable(b.String()), nil
}

// oneline is a JSON document in one line.
func oneline(v any) (string, error) {
	text, err := json.Marshal(v)
	return readable(string(text)), err
}

var unescaped = map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"}

// readable undoes what package json does to JSON that stands in a script: here it is escaped
// as what it stands in needs it.
func readable(document string) string {
	var b strings.Builder
	for i := 0; i < len(document); {
		size, text := 1, document[i:i+1]
		if text == `\` && i+1 < len(document) { // an escape, of which the second character may be this one
			size = 2
			text = document[i : i+2]
		}
		if i+6 <= len(document) && unescaped[document[i:i+6]] != "" {
			size, text = 6, unescaped[document[i:i+6]]
		}
		b.WriteString(text)
		i += size
	}
	return b.String()
}

// clip cuts a text that a table or a page has no room for.
func clip(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// short is the end of an id, which tells ids of the same minute apart, or of a digest the beginning.
func short(id any) string {
	s := fmt.Sprint(id)
	if rest, ok := strings.CutPrefix(s, "sha256:"); ok && len(rest) > 12 {
		return rest[:12]
	}
	if len(s) == 26 {
		return s[18:]
	}
	return s
}

// dict names the values that a part of a page is given.
func dict(pairs ...any) (map[string]any, error) {
	out := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("name %v of a part's value is no text", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}
