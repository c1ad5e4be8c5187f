package supervise

import (
	"fmt"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// FaultKind is how a plugin broke its contract. The names are stable: health and
// metrics carry them.
type FaultKind string

// The kinds of fault; see the package documentation.
const (
	Silent       FaultKind = "silent"
	Junk         FaultKind = "junk"
	LineTooLong  FaultKind = "line_too_long"
	Exited       FaultKind = "exited"
	ClosedOutput FaultKind = "closed_output"
	Refused      FaultKind = "refused"
)

// Fault is an error that is the plugin's doing. Its text is a sentence without the
// plugin's name.
type Fault struct {
	Kind   FaultKind
	Detail string
	Exit   *sandbox.Exit // of kind exited
}

func (f *Fault) Error() string { return f.Detail }

func faultf(kind FaultKind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}
