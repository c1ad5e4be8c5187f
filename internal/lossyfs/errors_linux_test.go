package lossyfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// flushAgain takes an fsync that succeeds after one that failed for success.
func flushAgain(dir string, durable func(string)) error {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d", os.Getpid())))
	if err != nil {
		return err
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	for parent.Sync() != nil {
	}
	for n := 0; ; n++ {
		item := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if _, err := f.WriteString(item + "\n"); err != nil {
			return err
		}
		for f.Sync() != nil {
		}
		durable(item)
	}
}

// R12: a store that gives up when an fsync fails loses nothing that it acknowledged. One that
// tries again does, so this test can tell.
func TestErrors(t *testing.T) {
	if lost, _ := Errors(t, "careful"); lost > 0 {
		t.Errorf("%d lines that were flushed are lost", lost)
	}
	if lost, failures := Errors(t, "stubborn"); lost < failures/2-1 {
		t.Errorf("of %d failures only %d items were lost", failures, lost)
	}
}
