package sandbox

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxProcFile bounds one file of /proc; "children" is the longest, with 8 bytes a
// process.
const maxProcFile = 1 << 20

// census walks trees of processes. A watchdog does that every 50 ms for every plugin,
// so it takes few system calls: nine for a process with one thread. It is not for
// concurrent use.
type census struct {
	buf   []byte
	pids  []int
	tasks int // threads of all that was walked through
}

// below lists the descendants of pid, parents first. The list is valid until the next
// call.
func (c *census) below(pid int) []int {
	c.pids, c.tasks = c.pids[:0], 0
	c.childrenOf(pid)
	for i := 0; i < len(c.pids); i++ {
		c.childrenOf(c.pids[i])
	}
	return c.pids
}

// childrenOf appends the children of all threads of pid (proc_pid_task(5); Linux with
// CONFIG_PROC_CHILDREN, as every distribution builds it).
func (c *census) childrenOf(pid int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return
	}
	threads := int(st.Nlink) - 2 // its own two links and one for each
	c.tasks += threads
	if threads == 1 {
		c.childrenOfThread(dir + "/" + strconv.Itoa(pid))
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, thread := range entries {
		c.childrenOfThread(dir + "/" + thread.Name())
	}
}

func (c *census) childrenOfThread(dir string) {
	for field := range bytes.FieldsSeq(c.read(dir + "/children")) {
		if n, ok := parseInt(field); ok {
			c.pids = append(c.pids, int(n))
		}
	}
}

// resident is the resident size of one process, from proc_pid_statm(5).
func (c *census) resident(pid int) (int64, bool) {
	_, rest, _ := bytes.Cut(c.read("/proc/"+strconv.Itoa(pid)+"/statm"), []byte{' '})
	field, _, _ := bytes.Cut(rest, []byte{' '})
	pages, ok := parseInt(field)
	return pages * pageSize, ok
}

var pageSize = int64(os.Getpagesize())

// childrenOf lists the children of pid.
func childrenOf(pid int) []int {
	var c census
	c.childrenOf(pid)
	return c.pids
}

// usage adds up pid and all that descends from it.
func (c *census) usage(pid int) usage {
	var u usage
	for _, p := range append(c.below(pid), pid) {
		if size, ok := c.resident(p); ok {
			u.resident += size
		}
	}
	u.processes = c.tasks
	return u
}

// read gives a file of /proc, at most maxProcFile bytes of it; nothing when the process
// is gone. What it gives is valid until the next call.
func (c *census) read(path string) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if c.buf == nil {
		c.buf = make([]byte, 4<<10)
	}
	for size := 0; ; {
		n, err := unix.Read(fd, c.buf[size:])
		size += max(n, 0)
		switch {
		case err != nil, n <= 0, size >= maxProcFile:
			return c.buf[:size]
		case size == len(c.buf):
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
}

// parseInt reads a decimal number without making a string of it.
func parseInt(b []byte) (int64, bool) {
	var n int64
	for _, digit := range b {
		if digit < '0' || digit > '9' || n > 1<<52 {
			return 0, false
		}
		n = 10*n + int64(digit-'0')
	}
	return n, len(b) > 0
}
