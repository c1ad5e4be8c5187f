package telemetry

import (
	"math"
	"time"

	"golang.org/x/sys/windows"
)

func cpuSeconds() float64 {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user) != nil {
		return math.NaN()
	}
	return (spent(kernel) + spent(user)).Seconds()
}

// spent is a duration in a Filetime: units of 100 ns.
func spent(t windows.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}

func maxDescriptors() float64 { return unknown() }
