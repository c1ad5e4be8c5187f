package cluster

import (
	"strings"
	"sync"
)

// LastLines keeps what a cluster's processes printed last, for when something fails.
// The zero value is ready; it is safe for concurrent use.
type LastLines struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// keptLines is enough for a stack trace and what led to it.
const keptLines = 60

// Add is a LogFunc.
func (l *LastLines) Add(process, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, process+": "+line)
	l.lines = l.lines[max(0, len(l.lines)-keptLines):]
}

// String is a line for each, the oldest first.
func (l *LastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
