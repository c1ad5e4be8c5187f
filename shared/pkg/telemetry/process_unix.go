//go:build unix

package telemetry

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func cpuSeconds() float64 {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return math.NaN()
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func maxDescriptors() float64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.NaN()
	}
	return float64(limit.Cur)
}
