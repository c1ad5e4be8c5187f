package telemetry

import (
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// maxStatm is far above what the kernel writes: seven numbers.
const maxStatm = 256

func residentBytes() float64 { return pages(1) }
func virtualBytes() float64  { return pages(0) }

// pages is a field of /proc/self/statm, in bytes.
func pages(field int) float64 {
	text, err := limits.ReadFile("/proc/self/statm", maxStatm)
	fields := strings.Fields(string(text))
	if err != nil || len(fields) <= field {
		return math.NaN()
	}
	n, err := strconv.ParseUint(fields[field], 10, 64)
	if err != nil {
		return math.NaN()
	}
	return float64(n) * float64(os.Getpagesize())
}

func openDescriptors() float64 { return entries("/proc/self/fd", 1) } // without the one it takes to look
func threads() float64         { return entries("/proc/self/task", 0) }

func entries(dir string, own int) float64 {
	f, err := os.Open(dir)
	if err != nil {
		return math.NaN()
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return math.NaN()
	}
	return float64(len(names) - own)
}
