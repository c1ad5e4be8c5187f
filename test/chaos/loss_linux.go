package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ownNetwork is set in the environment of a bench that has one.
const ownNetwork = "CHAOS_OWN_NETWORK=yes"

// isolate starts the bench anew in a network of its own, with nothing but a loopback, whose packets
// can be lost without harm to anybody. It returns where that needs no doing, or has failed.
func isolate() error {
	if name, value, _ := strings.Cut(ownNetwork, "="); os.Geteuid() != 0 || os.Getenv(name) == value {
		return nil
	}
	runtime.LockOSThread() // of which alone the network is, until it becomes the process
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network of its own: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("a loopback: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), ownNetwork))
}

// mayLose reports whether lose can do anything.
func mayLose() bool { return os.Geteuid() == 0 }

// lose has the kernel drop three of ten packets between an agent and its proxy, each way, or no more.
func lose(ctx context.Context, p *proxy, begin bool) error {
	_, port, err := net.SplitHostPort(p.addr())
	if err != nil {
		return err
	}
	does := map[bool]string{true: "--append", false: "--delete"}[begin]
	for _, way := range []string{"--destination-port", "--source-port"} {
		rule := exec.CommandContext(ctx, "iptables", "--wait", does, "INPUT", "--protocol", "tcp", way, port,
			"--match", "statistic", "--mode", "random", "--probability", "0.3", "--jump", "DROP")
		rule.Stderr = os.Stderr
		if err := rule.Run(); err != nil {
			return fmt.Errorf("lose packets: %w", err)
		}
	}
	return nil
}
