package kit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

const maxProcFile = 64 << 10

// process is what /proc says of one.
type process struct {
	parent, session int
	resident        int64
}

// processOf reads /proc/PID/stat (proc_pid_stat(5)); the name in it may hold anything.
func processOf(pid int) (process, bool) {
	b, err := limits.ReadFile(fmt.Sprintf("/proc/%d/stat", pid), maxProcFile)
	end := bytes.LastIndexByte(b, ')')
	if err != nil || end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 22 {
		return process{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	return process{parent: number(1), session: number(3), resident: int64(number(21)) * int64(os.Getpagesize())}, true
}

// childrenOf are the children of all threads of a process (proc_tid_children(5)).
func childrenOf(pid int) []int {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, path := range threads {
		b, err := limits.ReadFile(path, maxProcFile)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// below are the descendants of a process.
func below(pid int) []int {
	var out []int
	for _, child := range childrenOf(pid) {
		out = append(append(out, child), below(child)...)
	}
	return out
}

// measure looks at a process of the plugin. It reports false where it cannot be seen.
func measure(pid int, home string) (figures, bool) {
	self, ok := processOf(pid)
	if !ok {
		return figures{}, false
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return figures{}, false
	}
	f := figures{descriptors: len(descriptors), resident: self.resident, files: filesIn(home) + filesIn(scratchOf(pid))}
	for _, child := range below(pid) {
		f.processes++
		if p, ok := processOf(child); ok {
			f.resident += p.resident
		}
	}
	return f, true
}

// scratchOf is the private temporary directory of a process, as this one sees it.
func scratchOf(pid int) string {
	environ, err := limits.ReadFile(fmt.Sprintf("/proc/%d/environ", pid), maxProcFile)
	if err != nil {
		return ""
	}
	for _, variable := range strings.Split(string(environ), "\x00") {
		if path, found := strings.CutPrefix(variable, "TMPDIR="); found {
			return filepath.Join(fmt.Sprintf("/proc/%d/root", pid), path)
		}
	}
	return ""
}

// leftBy counts the processes that a run has left at its answer: what came from its
// process and, where that was forked, what was handed on to the process that it came
// from. Forks that have no run yet are in that one's session, or among the executions
// that the agent knows; it knows of whoever has left that session by when it is asked.
func leftBy(pid int, executions func() []int) int {
	self, ok := processOf(pid)
	if !ok {
		return 0
	}
	n := len(below(pid))
	from, ok := processOf(self.parent)
	if !ok || self.parent == os.Getpid() {
		return n
	}
	var others []int
	for _, other := range childrenOf(self.parent) {
		if p, ok := processOf(other); ok && other != pid && p.session != from.session {
			others = append(others, other)
		}
	}
	known := executions()
	return n + len(slices.DeleteFunc(others, func(pid int) bool { return slices.Contains(known, pid) }))
}

// canMeasure says that measure works on this system.
const canMeasure = true
