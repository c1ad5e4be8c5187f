package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// Kind says what a record tells of: a fixed word in lower case.
type Kind string

// Kinds that the log writes of itself.
const (
	// KindContinued is the first record of a file that goes on where another one ended.
	KindContinued Kind = "audit_continued"
	// KindRepaired tells of the bytes of an unconfirmed record that were cut off.
	KindRepaired Kind = "audit_repaired"
	// KindDamaged tells that the file is not as it was left.
	KindDamaged Kind = "audit_damaged"
	// KindDropped tells how many notes were given up while nothing could be written.
	KindDropped Kind = "audit_dropped"
)

// Record is one line of a file.
type Record struct {
	Seq    uint64          `json:"seq"`
	Time   time.Time       `json:"time"`
	Kind   Kind            `json:"kind"`
	Fields json.RawMessage `json:"fields"` // an object
	Prev   string          `json:"prev"`
	Hash   string          `json:"hash"`
}

// Head names a record: that one and, through it, all before.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

const (
	// MaxLine bounds a record; longer fields are replaced by their digest.
	MaxLine   = 64 << 10
	maxFields = MaxLine - 1<<10 // what is beside them has less than 512 bytes

	hashLength = 2 * sha256.Size
	hashMember = `,"hash":"`
	tailLength = len(hashMember) + hashLength + len(`"}`)
)

// zero is what the first record has as the hash of the one before.
var zero = Head{Hash: string(bytes.Repeat([]byte("0"), hashLength))}

// appendLine adds the record that follows after to b, and returns what follows it.
func appendLine(b []byte, after Head, at time.Time, kind Kind, fields []byte) ([]byte, Head) {
	start := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, after.Seq+1, 10)
	b = append(b, `,"time":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","kind":"`...)
	b = append(b, kind...)
	b = append(b, `","fields":`...)
	b = append(b, fields...)
	b = append(b, `,"prev":"`...)
	b = append(b, after.Hash...)
	b = append(b, '"')
	sum := hashOf(b[start:])
	b = append(b, hashMember...)
	b = append(b, sum...)
	return append(b, '"', '}', '\n'), Head{after.Seq + 1, sum}
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var (
	errNoRecord = errors.New("is no record")
	errEdited   = errors.New("is not what its hash was made of")
)

// parse reads a line without its newline. An errEdited comes with the record as it is.
func parse(line []byte) (Record, error) {
	var r Record
	if len(line) <= tailLength {
		return r, errNoRecord
	}
	if err := limits.UnmarshalJSON(line, &r); err != nil {
		return r, fmt.Errorf("%w: %w", errNoRecord, err)
	}
	body, tail := line[:len(line)-tailLength], line[len(line)-tailLength:]
	if string(tail) != hashMember+r.Hash+`"}` || hashOf(body) != r.Hash {
		return r, errEdited
	}
	return r, nil
}

// encode writes attributes as one object, in their order. Texts pass hide, which takes
// out what nobody may read.
func encode(attrs []slog.Attr, hide func(string) string) []byte {
	b := []byte{'{'}
	for i, a := range attrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, jsonOf(a.Key)...), ':')
		b = append(b, jsonOf(plain(a.Value, hide))...)
	}
	b = append(b, '}')
	if hidden := hide(string(b)); hidden != string(b) {
		if b = []byte(hidden); !json.Valid(b) {
			return []byte(`{"redacted":true}`)
		}
	}
	if len(b) > maxFields {
		return fmt.Appendf(nil, `{"too_long":%d,"sha256":"%s"}`, len(b), hashOf(b))
	}
	return b
}

// plain is what encoding/json writes as a person would.
func plain(v slog.Value, hide func(string) string) any {
	switch v = v.Resolve(); v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindString:
		return cut(v.String(), hide)
	case slog.KindAny:
		if err, isError := v.Any().(error); isError {
			return cut(err.Error(), hide)
		}
	}
	return v.Any()
}

// maxText bounds one text: foreign ones may be as long as somebody likes.
const maxText = 4 << 10

func cut(s string, hide func(string) string) string {
	if len(s) > maxText {
		s = hide(s) // a secret that is half cut off would not be found any more
	}
	if len(s) <= maxText {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:maxText], ""), len(s))
}

func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // a mistake of the program; the record is worth more than the field
		b, _ = json.Marshal("cannot be written: " + err.Error())
	}
	return b
}
