package service

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// The variables of sd_notify(3) and sd_watchdog_enabled(3).
const (
	envSocket       = "NOTIFY_SOCKET"
	envWatchdog     = "WATCHDOG_USEC"
	envWatchdogPID  = "WATCHDOG_PID"
	notifyWriteTime = 5 * time.Second // systemd's queue is read by process 1, which may be busy
)

// Notified reports whether a service manager wants to be told.
func Notified() bool { return os.Getenv(envSocket) != "" }

// Notify tells the service manager lines such as READY=1. Without one it does nothing.
func Notify(lines ...string) error {
	path := os.Getenv(envSocket)
	if path == "" {
		return nil
	}
	conn, err := net.DialTimeout("unixgram", path, notifyWriteTime) // "@…" is an abstract name, for systemd and for Go
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(notifyWriteTime)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// Watchdog is how long the service manager waits for a sign of life before it ends this
// process; 0 when it does not.
func Watchdog() time.Duration {
	if pid := os.Getenv(envWatchdogPID); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(os.Getenv(envWatchdog), 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}
