package delivery

import (
	"fmt"
	"math"
	"regexp"
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
)

// Bounds of what becomes a key of an index.
const (
	maxTypeLength = 128
	maxKeyLength  = 256
)

// eventType is dotted words, disk.space.high: workflows match them one by one.
var eventType = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

var severities = []api.Severity{api.Low, api.Medium, api.High, api.Critical}

// invalid says why an event can never be accepted, or "".
func invalid(e api.Event) string {
	if err := e.ID.Validate(); err != nil {
		return err.Error()
	}
	switch {
	case e.Seq == math.MaxUint64:
		return "seq: is beyond the highest number"
	case len(e.Type) > maxTypeLength || !eventType.MatchString(e.Type):
		return fmt.Sprintf("type %.80q: must be words of letters, digits, '_' and '-' joined by '.', at most %d characters", e.Type, maxTypeLength)
	case !slices.Contains(severities, e.Severity):
		return fmt.Sprintf("severity %.40q: must be low, medium, high or critical", e.Severity)
	case len(e.Key) > maxKeyLength:
		return fmt.Sprintf("key: has %d bytes and may have %d", len(e.Key), maxKeyLength)
	case e.Timestamp.IsZero():
		return "timestamp: is missing"
	}
	return ""
}
