package kit

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// figures are what a process of the plugin, with all that it started, holds at a moment.
type figures struct {
	at          int   // after how many runs
	descriptors int   // of the process itself
	processes   int   // besides the process itself
	resident    int64 // bytes, of all of them
	files       int   // in its temporary directory and its home
}

// What may grow between the first fifth of the runs and their end. An interpreter's
// memory is not still: its arenas come by the 256 KiB, caches fill.
const (
	growDescriptors = 2
	growProcesses   = 0
	growFiles       = 2
	growMemory      = 1 << 20
	growMemoryEach  = 1 << 10 // bytes a run besides
)

// grown tells what kept growing. Growth that stops is no leak: each sample has to be at
// least the one before, and the last above the middle.
func grown(samples []figures, c *Check) {
	if len(samples) < 3 {
		return
	}
	first, middle, last := samples[0], samples[len(samples)/2], samples[len(samples)-1]
	runs := last.at - first.at
	tell := func(what string, by int64, of func(figures) int64, most int64) {
		for i := 1; i < len(samples); i++ {
			if of(samples[i]) < of(samples[i-1]) {
				return
			}
		}
		if of(last)-of(first) > most && of(last) > of(middle) {
			c.fail("%s: %s after %s runs, %s after %s", what, amount(of(first), by), thousands(first.at), amount(of(last), by), thousands(last.at))
		}
	}
	tell("leaks descriptors", 1, func(f figures) int64 { return int64(f.descriptors) }, growDescriptors)
	tell("leaves processes behind", 1, func(f figures) int64 { return int64(f.processes) }, growProcesses)
	tell("leaves files behind", 1, func(f figures) int64 { return int64(f.files) }, growFiles)
	tell("leaks memory", 1<<20, func(f figures) int64 { return f.resident }, growMemory+growMemoryEach*int64(runs))
}

const maxCounted = 10_000

// filesIn counts what is below a directory, up to a bound.
func filesIn(dir string) int {
	n := -1                                                                    // itself
	_ = filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { // what cannot be seen is not counted
		if n++; n > maxCounted {
			return fs.SkipAll
		}
		return err
	})
	return max(n, 0)
}

// amount is a number, or of bytes in MiB.
func amount(n, by int64) string {
	if by == 1 {
		return thousands(int(n))
	}
	return mebibytes(n)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// short writes a duration with as many digits as people read.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// sampleAt says after which of n runs to look: a fifth, two fifths … and the last.
func sampleAt(i, n int) bool {
	step := max(n/5, 1)
	return i == n || i%step == 0 && n-i >= step
}
