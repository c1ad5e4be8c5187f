package supervise

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxOutput is how much of a script's standard output is kept: four times what a
// result may have (api.MaxResultBytes), so that the agent can keep the whole as a
// file where a result is cut.
const maxOutput = 1 << 20

// output is what a script printed. It is written by one goroutine and read after
// that one ended.
type output struct {
	kept *limits.Buffer
	cut  bool
}

func newOutput() *output { return &output{kept: limits.NewBuffer(maxOutput)} }

func (o *output) line(line []byte) {
	o.kept.Write(line)
	o.kept.Write([]byte{'\n'})
}

// drain throws the rest of a stream away that is too long to be a result, so that
// the script is not held up.
func (o *output) drain(r io.Reader) {
	o.cut = true
	_, _ = io.Copy(io.Discard, r)
}

// replay passes on as log what turned out to be none of a result.
func (o *output) replay(log *throttle) {
	log.pump("stdout", bytes.NewReader(o.kept.Bytes()))
}

// result gives the output as JSON: itself where it is JSON, else as text, else nil.
// truncated says that more was printed than is kept.
func (o *output) result() (data json.RawMessage, isJSON, truncated bool) {
	text := bytes.TrimSpace(o.kept.Bytes())
	truncated = o.cut || o.kept.Dropped() > 0
	if len(text) == 0 {
		return nil, false, truncated
	}
	if !truncated && json.Valid(text) { // how deep it is, who takes the result looks at
		return text, true, false
	}
	raw, err := api.Marshal(strings.ToValidUTF8(string(text), "\uFFFD"))
	if err != nil {
		return nil, false, truncated // text always marshals
	}
	return raw, false, truncated
}
