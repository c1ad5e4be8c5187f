package census

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// Count is what a program holds.
type Count struct {
	Goroutines, Descriptors, Processes int
}

func (c Count) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d processes", c.Goroutines, c.Descriptors, c.Processes)
}

const (
	askLimit = 10 * time.Second
	maxBody  = 4 << 20
)

// Of counts what the program with this process id holds, whose metrics are at addr.
func Of(ctx context.Context, pid int, addr string) (Count, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return Count{}, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // a kept connection would be counted
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Count{}, err
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, maxBody)
	if err != nil {
		return Count{}, err
	}
	var c Count
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "go_goroutines":
			c.Goroutines = int(n)
		case "process_open_fds":
			c.Descriptors = int(n)
		}
	}
	if c.Goroutines == 0 || c.Descriptors == 0 {
		return Count{}, fmt.Errorf("%s has no metrics of a Go process", addr)
	}
	c.Processes = len(Below(pid))
	return c, nil
}

// Below lists the processes that a process started, and those that they did.
func Below(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is sound
	for _, path := range stats {
		text, err := os.ReadFile(path) // of the kernel
		if err != nil {
			continue // it has ended
		}
		id, _, _ := strings.Cut(string(text), " ")
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		child, err := strconv.Atoi(id)
		if err != nil || len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var out []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		out = append(out, next[0])
		next = append(next, children[next[0]]...)
	}
	return out
}
