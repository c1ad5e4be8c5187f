//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// metadataAddress is where clouds keep a machine's credentials.
const metadataAddress = "169.254.169.254"

// stage makes a host of the namespaces that it was started in, as root there, and
// becomes the world, as the configuration's user.
func stage(args []string) error {
	s, err := readSpec(args)
	if err != nil {
		return err
	}
	s.MetadataHost = metadataAddress
	err = errors.Join(
		step("keep mounts to ourselves", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")),
		step("mount /proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")),
		step("bring loopback up", loopback()),
		step("let users listen below 1024", os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)),
		// Far from the numbers that a process namespace of a plugin uses: a probe that
		// signals the agent's number there must not hit another process.
		step("number processes from 20000", os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("20000"), 0)),
	)
	if err == nil && s.NoUserNamespaces {
		err = step("refuse user namespaces", os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
	}
	if err == nil && s.MaskedProc {
		err = maskProc()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Dir, specFile), mustJSON(s), 0o644)
	}
	if err != nil {
		return err
	}
	line := []string{filepath.Join(s.Bin, "attack"), "world", s.Dir}
	if s.UID != 0 {
		id := strconv.Itoa(s.UID)
		line = append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs", "--pdeathsig=KILL",
			"--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"}, line...)
	}
	return execute(line)
}

func step(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// loopback brings lo up and gives it the address of the metadata service as well.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(up(fd, "lo"), address(fd, "lo:1", metadataAddress))
}

func up(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func address(fd int, name, ip string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr)
}

// What container engines cover, with nothing or against writing.
var (
	maskedFiles = []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"}
	maskedDirs  = []string{"/proc/scsi"}
	readOnly    = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func maskProc() error {
	var errs []error
	for _, path := range maskedFiles {
		if _, err := os.Stat(path); err == nil {
			errs = append(errs, step("cover "+path, unix.Mount("/dev/null", path, "", unix.MS_BIND, "")))
		}
	}
	for _, path := range maskedDirs {
		if _, err := os.Stat(path); err == nil {
			errs = append(errs, step("cover "+path, unix.Mount("none", path, "tmpfs", unix.MS_RDONLY, "")))
		}
	}
	for _, path := range readOnly {
		if _, err := os.Stat(path); err == nil {
			errs = append(errs, step("bind "+path, unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")),
				step("protect "+path, unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")))
		}
	}
	return errors.Join(errs...)
}

// execute becomes another program.
func execute(line []string) error {
	path, err := exec.LookPath(line[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, line, os.Environ())
}
