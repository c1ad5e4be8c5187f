package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAppend compares events that many callers append, each durable before its caller
// goes on, with what the same disk takes of as many bytes in groups of the same size.
func BenchmarkAppend(b *testing.B) {
	payload := []byte(strings.Repeat("x", 300)) // a small event
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{MaxBytes: 1 << 40})
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var group sync.WaitGroup
			for range callers {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := s.Append(b.Context(), payload, false); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "events/s")
			b.ReportMetric(100*rate/rawRate(b, len(payload)+overhead, callers), "%of_raw")
		})
	}
}

// rawRate is how many records of size bytes the disk takes in a second, a group in one write
// and one fsync.
func rawRate(b *testing.B, size, group int) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size*group)
	groups := max(1, min(b.N/group, 2000))
	begun := time.Now()
	for range groups {
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(groups*group) / time.Since(begun).Seconds()
}
