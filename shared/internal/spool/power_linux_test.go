package spool

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stavily/agents/internal/lossyfs"
)

func init() {
	lossyfs.Children(map[string]lossyfs.Store{"spool": {Write: appendUntilCut, Read: readAll}})
}

func appendUntilCut(dir string, durable func(string)) error {
	s, err := Open(dir+"/spool", Options{SegmentBytes: 4000})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				payload := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if _, err := s.Append(context.Background(), []byte(payload), false); err != nil {
					failed <- err
					return
				}
				durable(payload)
			}
		}()
	}
	return <-failed
}

func readAll(dir string, there func(string)) error {
	s, err := Open(dir+"/spool", Options{SegmentBytes: 4000})
	if err != nil {
		return err
	}
	b, err := s.Batch(1<<20, 1<<30)
	for _, record := range b.Records {
		there(string(record.Payload))
	}
	return err
}

// R6: what a plugin was told is accepted outlives a power cut.
func TestPowerCuts(t *testing.T) {
	if lost, cuts := lossyfs.Cuts(t, "spool"); cuts > 0 {
		t.Errorf("%d accepted events were lost in %d cuts", lost, cuts)
	}
}

// R12: nothing is acknowledged that a failed write or fsync has kept from the disk, and the next
// process goes on.
func TestIOErrors(t *testing.T) {
	if lost, _ := lossyfs.Errors(t, "spool"); lost > 0 {
		t.Errorf("%d accepted events were lost", lost)
	}
}
