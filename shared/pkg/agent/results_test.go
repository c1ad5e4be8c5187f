package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Of the results that stand in files the oldest go, and nothing else does.
func TestSweepResults(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for name, f := range map[string]struct {
		size int64
		age  time.Duration
	}{
		"result-new.json":     {1 << 20, 9 * 24 * time.Hour}, // by a clock that was wrong
		"result-recent.json":  {keptResults - 2<<20, time.Minute},
		"result-fits.json":    {1 << 20, time.Hour},
		"result-over.json":    {1, 2 * time.Hour},
		"result-old.json":     {0, keptResultsFor + time.Minute},
		"result-of-others.db": {keptResults, 30 * 24 * time.Hour},
		"other.json":          {keptResults, 30 * 24 * time.Hour},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, f.size); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, now.Add(-f.age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweepResults(dir, "result-new.json", now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other.json", "result-fits.json", "result-new.json", "result-of-others.db", "result-recent.json"}, names(t, dir)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if err := sweepResults(dir, "", now); err != nil { // at the next start
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other.json", "result-fits.json", "result-of-others.db", "result-recent.json"}, names(t, dir)); diff != "" {
		t.Errorf("kept by the next start (-want +got):\n%s", diff)
	}
	if err := sweepResults(filepath.Join(dir, "missing"), "", now); err != nil {
		t.Error(err)
	}
}
