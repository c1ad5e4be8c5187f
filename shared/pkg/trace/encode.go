package trace

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// The document of OTLP/HTTP in JSON: ids in hexadecimal, 64-bit numbers as texts.
type (
	document struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope      `json:"scope"`
		Spans []wireSpan `json:"spans"`
	}
	scope struct {
		Name string `json:"name"`
	}
	wireSpan struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		ParentID   string     `json:"parentSpanId,omitempty"`
		Name       string     `json:"name"`
		Kind       Kind       `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes,omitempty"`
		Status     *status    `json:"status,omitempty"`
	}
	keyValue struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		Text  *string `json:"stringValue,omitempty"`
		Whole *string `json:"intValue,omitempty"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
)

// statusError is STATUS_CODE_ERROR.
const statusError = 2

// maxText bounds one attribute or message: a plugin's error may be long.
const maxText = 1 << 10

func encode(about []attribute, spans []*Span) []byte {
	out := make([]wireSpan, len(spans))
	for i, s := range spans {
		out[i] = wireSpan{
			TraceID: hex.EncodeToString(s.context.trace[:]), SpanID: hex.EncodeToString(s.context.span[:]),
			Name: s.name, Kind: s.kind, Start: nanoseconds(s.begin), End: nanoseconds(s.end), Attributes: keyValues(s.fields),
		}
		if s.parent != [8]byte{} {
			out[i].ParentID = hex.EncodeToString(s.parent[:])
		}
		if s.failed {
			out[i].Status = &status{statusError, bounded(s.message)}
		}
	}
	d := document{[]resourceSpans{{resource{keyValues(about)}, []scopeSpans{{scope{"stavily"}, out}}}}}
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // texts and numbers always have a JSON form
	}
	return b
}

func nanoseconds(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func keyValues(fields []attribute) []keyValue {
	out := make([]keyValue, len(fields))
	for i, f := range fields {
		out[i].Key = f.key
		if f.isWhole {
			n := strconv.FormatInt(f.whole, 10)
			out[i].Value.Whole = &n
			continue
		}
		text := bounded(f.text)
		out[i].Value.Text = &text
	}
	return out
}

func bounded(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
