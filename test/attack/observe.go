//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// sightings are what was seen from outside the plugins.
type sightings struct {
	mu     sync.Mutex // guards the fields below
	calls  map[string]int
	names  map[string]int // processes by name: the most at one time
	memory int64          // the most resident bytes that the probes of memory had at one time
}

func (s *sightings) heard(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[what]++
}

func (s *sightings) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[what]
}

// most is how many processes of a name there were at one time.
func (s *sightings) most(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name]
}

// peak gives the most memory since it was last asked.
func (s *sightings) peak() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	peak := s.memory
	s.memory = 0
	return peak
}

// process is one that /proc shows.
type process struct {
	pid, parent int
	name        string
	state       byte
	resident    int64
}

func readProcess(pid int) (p process, ok bool) {
	text, err := limits.ReadFile(fmt.Sprintf("/proc/%d/stat", pid), 4<<10)
	if err != nil {
		return p, false
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return p, false
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 22 {
		return p, false
	}
	p = process{pid: pid, name: string(text[open+1 : end]), state: fields[0][0]}
	p.parent, _ = strconv.Atoi(fields[1])
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	p.resident = pages * int64(os.Getpagesize())
	return p, true
}

func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []process
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(pid); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

// marked counts the living processes whose name begins as given; a zombie is dead, and
// so is one that its parent has not buried.
func marked(prefix string) (n int, pids []int) {
	for _, p := range processes() {
		if strings.HasPrefix(p.name, prefix) && p.state != 'Z' && p.state != 'X' {
			n++
			pids = append(pids, p.pid)
		}
	}
	return n, pids
}

// zombies are the names of dead children that a process has not buried.
func zombies(parent int) (names []string) {
	for _, p := range processes() {
		if p.parent == parent && p.state == 'Z' {
			names = append(names, p.name)
		}
	}
	return names
}

// watch looks at all processes until the world ends. Every 10 ms: memory is taken at a
// few megabytes a millisecond.
func (w *host) watch() {
	for w.ctx.Err() == nil {
		now, memory := map[string]int{}, int64(0)
		for _, p := range processes() {
			if !strings.HasPrefix(p.name, "atk-") {
				continue
			}
			now[p.name]++
			if p.name == "atk-memory" {
				memory += p.resident
			}
		}
		w.seen.note(now, memory)
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *sightings) note(now map[string]int, memory int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string]int{}
	}
	for name, n := range now {
		s.names[name] = max(s.names[name], n)
	}
	s.memory = max(s.memory, memory)
}

// highWater is the most memory that a process has had (VmHWM).
func highWater(pid int) int64 {
	text, err := limits.ReadFile(fmt.Sprintf("/proc/%d/status", pid), 16<<10)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
