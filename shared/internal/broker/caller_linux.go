package broker

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// maxProc bounds a file of /proc/PID; status has about 1.5 KB.
const maxProc = 64 << 10

func proc(pid uint32, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// memory copies length bytes of the caller's memory. Whether it was the caller's is
// for valid to say afterwards.
func memory(pid uint32, address uint64, length int) ([]byte, error) {
	b := make([]byte, length)
	if length == 0 {
		return b, nil
	}
	f, err := os.Open(proc(pid, "mem"))
	if err != nil {
		return nil, unix.EACCES // the process made itself unreadable
	}
	defer f.Close()
	if _, err := f.ReadAt(b, int64(address)); err != nil {
		return nil, unix.EFAULT
	}
	return b, nil
}

// status is /proc/PID/status: a name, a colon and numbers on each line that is used.
type status []byte

func statusOf(pid uint32) (status, error) {
	b, err := limits.ReadFile(proc(pid, "status"), maxProc)
	if err != nil {
		return nil, unix.ESRCH
	}
	return b, nil
}

// numbers returns what a line holds.
func (s status) numbers(name string, base int) (all []int, err error) {
	_, rest, found := bytes.Cut(s, []byte("\n"+name+":"))
	if !found {
		return nil, unix.ESRCH // a zombie has no Umask
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	for word := range bytes.FieldsSeq(line) {
		n, err := strconv.ParseUint(string(word), base, 32)
		if err != nil {
			return nil, fmt.Errorf("line %s of a process's status: %w", name, err)
		}
		all = append(all, int(n))
	}
	return all, nil
}

func (s status) number(name string, index, base int) (int, error) {
	all, err := s.numbers(name, base)
	if err != nil || index >= len(all) {
		return 0, unix.ESRCH
	}
	return all[index], nil
}

// group returns the process that a thread belongs to.
func group(pid uint32) (int, error) {
	s, err := statusOf(pid)
	if err != nil {
		return 0, err
	}
	return s.number("Tgid", 0, 10)
}

// pidfd opens the process that shares the caller's descriptors: the thread itself
// where the kernel can (6.9), else its process.
func pidfd(pid uint32) (int, error) {
	if fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_THREAD); err == nil {
		return fd, nil
	}
	tgid, err := group(pid)
	if err != nil {
		return -1, err
	}
	return unix.PidfdOpen(tgid, 0)
}
