package agent

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// residentFile is the part of this process's memory that is pages of files, in KiB.
func residentFile(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// What only the start ran does not stay in memory, and everything still runs.
func TestProgramIsUnmapped(t *testing.T) {
	before := residentFile(t)
	unmapProgram()
	if after := residentFile(t); after > before*3/4 {
		t.Errorf("%d KiB of files are resident, %d before", after, before)
	}
}
