package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/stavily/agents/internal/limits"
)

// maxFile bounds one control file. The longest is cgroup.procs, with 8 bytes for
// each of at most 4 million processes (PID_MAX_LIMIT).
const maxFile = 32 << 20

// What the kernel says when a value does not fit, a process is gone, and a mount is
// read-only.
const (
	errInvalid  = syscall.EINVAL
	errGone     = syscall.ESRCH
	errReadOnly = syscall.EROFS
)

func read(path string) (string, error) {
	b, err := limits.ReadFile(path, maxFile)
	return string(b), err
}

// write sets a control file that exists; it never makes one.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value) // one write is one command; the kernel answers to it, not to close
	return err
}

// number reads a file that holds one; 0 where it does not.
func number(dir, file string) int64 {
	text, err := read(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// field reads the number after key in a file of lines "key number"; 0 where there
// is none.
func field(dir, file, key string) int64 {
	text, err := read(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == key {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
