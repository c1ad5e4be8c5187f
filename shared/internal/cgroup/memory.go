package cgroup

import (
	"path/filepath"
	"runtime"
	"strings"
)

// MemoryLimit is the least memory limit, in bytes, of this process's group and those
// above it; 0 where there is none, or none can be seen.
func MemoryLimit() int64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	return thisHost().memoryLimit()
}

// unlimited is what version 1 says where there is no limit, rounded down a little.
const unlimited = int64(1) << 62

func (h host) memoryLimit() (least int64) {
	view, err := h.read()
	if err != nil {
		return 0
	}
	for _, of := range []struct {
		version          int
		controller, file string
	}{{2, "", "memory.max"}, {1, Memory, "memory.limit_in_bytes"}} {
		m, err := view.find(of.version, of.controller)
		if err != nil {
			continue
		}
		dir, err := m.dir(view.own[of.controller])
		if err != nil {
			continue
		}
		for ; strings.HasPrefix(dir, m.point); dir = filepath.Dir(dir) {
			if n := number(dir, of.file); n > 0 && n < unlimited && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return least
}
