//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watchSignals prints the address of a page and then the number of every signal that
// comes, until it is killed.
func watchSignals(page []byte) error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	signal.Ignore(syscall.SIGURG) // the runtime's own
	fmt.Println(uintptr(unsafe.Pointer(&page[0])))
	for s := range signals {
		fmt.Println(int(s.(syscall.Signal)))
	}
	return nil
}

// message is struct msgbuf (msgop(2)).
type message struct {
	kind int64
	text [64]byte
}

// leaveMessage puts a secret into a System V message queue.
func (w *host) leaveMessage() error {
	queue, _, errno := unix.Syscall(unix.SYS_MSGGET, uintptr(w.bait.MsgKey), unix.IPC_CREAT|0o600, 0)
	if errno != 0 {
		return fmt.Errorf("make a message queue: %w", errno)
	}
	m := message{kind: 1}
	w.messageSecret = secret("queue")
	copy(m.text[:], w.messageSecret)
	_, _, errno = unix.Syscall6(unix.SYS_MSGSND, queue, uintptr(unsafe.Pointer(&m)), uintptr(len(m.text)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("leave a message: %w", errno)
	}
	return nil
}

// makeQueue makes a POSIX message queue.
func (w *host) makeQueue() error {
	w.bait.MqName = w.bait.Mark
	name, err := unix.BytePtrFromString(w.bait.MqName)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("make a POSIX queue: %w", errno)
	}
	return nil
}

// semaphoreValue reads the bait's semaphore (semctl(2), GETVAL).
func (w *host) semaphoreValue() int {
	const getVal = 12
	v, _, _ := unix.Syscall6(unix.SYS_SEMCTL, w.sem, 0, getVal, 0, 0, 0)
	return int(v)
}
