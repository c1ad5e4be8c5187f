package cgroup

import (
	"path/filepath"
	"testing"
)

// The least limit counts, wherever above us it stands.
func TestMemoryLimit(t *testing.T) {
	f := newFake(t, "/a/b/c")
	for _, c := range []struct {
		limits map[string]string
		want   int64
	}{
		{map[string]string{}, 0},
		{map[string]string{"a": "max\n", "a/b": "max\n"}, 0},
		{map[string]string{"a/b/c": "1000\n"}, 1000},
		{map[string]string{"a/b/c": "1000\n", "a": "512\n"}, 512},
		{map[string]string{"a/b/c": "max\n", "a/b": "2048\n", "a": "max\n"}, 2048},
	} {
		for _, dir := range []string{"a", "a/b", "a/b/c"} {
			f.put(filepath.Join(f.root, dir, "memory.max"), c.limits[dir])
		}
		if got := f.host.memoryLimit(); got != c.want {
			t.Errorf("%v: %d, want %d", c.limits, got, c.want)
		}
	}
}
