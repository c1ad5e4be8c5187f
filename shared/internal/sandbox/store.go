package sandbox

import (
	"cmp"

	"github.com/stavily/agents/shared/internal/quota"
)

// storage looks after what a process stores: on the host's file systems, and at level
// full in the file system that it has for Temp.
type storage struct {
	watch *quota.Watch // nil where there is nothing of the host's to store in
	max   quota.Use
	temp  *tempFS // nil below level full
}

// lister is a family that knows its processes.
type lister interface {
	// pids may be called from another goroutine than the owner's.
	pids() []int
}

// store begins to look.
func store(pid int, f family, s *Spec) *storage {
	out := &storage{max: quota.Use{Bytes: cmp.Or(s.Limits.TempSize, defaultTempSize), Files: cmp.Or(s.Limits.TempFiles, defaultTempFiles)}}
	q := quota.Spec{Temp: s.Temp, Home: s.Home, Max: out.max, Patient: s.Given != ""}
	if s.confined(Full) {
		out.temp = openTempFS(pid, s.Temp)
		q.Temp, q.OwnMemory = "", true
	}
	if l, ok := f.(lister); ok {
		q.Processes = l.pids
	}
	if q.Temp != "" || q.Home != "" {
		out.watch = quota.Start(q)
	}
	return out
}

// over is closed when more is stored than allowed.
func (s *storage) over() <-chan struct{} {
	if s.watch == nil {
		return nil
	}
	return s.watch.Over()
}

// end tells what was stored, and whether that was all that may be. The processes have
// ended.
func (s *storage) end() (bytes int64, full bool) {
	if s.watch != nil {
		use := s.watch.Close()
		bytes, full = use.Bytes, use.Over(s.max)
	}
	if s.temp != nil {
		used, isFull := s.temp.close()
		bytes, full = bytes+used, full || isFull
	}
	return bytes, full
}

// fileSlack lets a file grow beyond what may be stored, so that it is that which ends
// the process, and has a name.
const fileSlack = 1 << 20

// fileSize is the limit for one file: it is the last that holds where a file is out of
// sight.
func (s *Spec) fileSize() int64 {
	temp := cmp.Or(s.Limits.TempSize, defaultTempSize)
	switch {
	case s.Temp == "" || len(s.Write) > 0:
		return s.Limits.FileSize
	case s.Limits.FileSize == 0:
		return temp + fileSlack
	}
	return min(s.Limits.FileSize, temp+fileSlack)
}
