package processors

import (
	"os"
	"runtime"
)

// enough is for two that write to disks, and two that work.
const enough = 4

// Ensure has Go use enough processors.
func Ensure() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < enough {
		runtime.GOMAXPROCS(enough)
	}
}
