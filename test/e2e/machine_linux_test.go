package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a host of its own for a test: systemd as process 1 in namespaces of its own,
// on a copy of this host's files that is thrown away. It has no network but itself.
type machine struct {
	t   *testing.T
	ctx context.Context
	pid int
}

// machineOrder is what the process that becomes systemd is told.
type machineOrder struct {
	Dir   string            // where its root is mounted
	Files map[string]string // what it has beside this host's files: path → source
}

const (
	asMachine = "TEST_AS_MACHINE"
	systemd   = "/lib/systemd/systemd"
)

func init() { helpers[asMachine] = becomeMachine }

// becomeMachine makes the root directory and becomes systemd. It is process 1 of its
// namespace already.
func becomeMachine(order string) error {
	var o machineOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	root, err := o.mounts()
	if err != nil {
		return err
	}
	if err := o.furnish(root); err != nil {
		return err
	}
	old := filepath.Join(root, "old")
	if err := errors.Join(os.Mkdir(old, 0o700), os.Chdir(root)); err != nil {
		return err
	}
	// Not chroot: in one, nobody can make user namespaces.
	if err := unix.PivotRoot(".", "old"); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=stavily-test"}
	return fmt.Errorf("start systemd: %w", syscall.Exec(systemd, []string{systemd, "--system", "--unit=multi-user.target", "--show-status=false", "--log-target=console", "--log-level=warning"}, env))
}

func (o machineOrder) mounts() (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("leave the host's mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", o.Dir, "tmpfs", 0, "mode=755"); err != nil {
		return "", err
	}
	upper, work, root := filepath.Join(o.Dir, "upper"), filepath.Join(o.Dir, "work"), filepath.Join(o.Dir, "root")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755), os.Mkdir(root, 0o755)); err != nil {
		return "", err
	}
	if err := unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)); err != nil {
		return "", fmt.Errorf("overlay: %w", err)
	}
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "proc", ""}, {"sysfs", "sys", ""}, {"cgroup2", "sys/fs/cgroup", ""},
		{"tmpfs", "run", "mode=755"}, {"tmpfs", "tmp", "mode=1777"}, {"tmpfs", "var/tmp", "mode=1777"},
	} {
		at := filepath.Join(root, m.at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount(m.kind, at, m.kind, 0, m.options); err != nil {
			return "", fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return root, unix.Mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND|unix.MS_REC, "")
}

// furnish makes a fresh installation of the copy: no service of this host runs in it.
func (o machineOrder) furnish(root string) error {
	units := filepath.Join(root, "etc/systemd/system")
	if err := errors.Join(os.RemoveAll(filepath.Join(root, "var/lib/stavily")), os.RemoveAll(units), os.MkdirAll(units, 0o755)); err != nil {
		return err
	}
	for _, unit := range []string{"systemd-udevd", "systemd-udev-trigger", "systemd-timesyncd", "systemd-remount-fs", "systemd-resolved"} {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit+".service")); err != nil {
			return err
		}
	}
	for path, source := range o.Files {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// newMachine boots one. files are copied into it.
func newMachine(t *testing.T, files map[string]string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a system")
	}
	if os.Geteuid() != 0 {
		t.Skip("to boot a system takes root")
	}
	if _, err := os.Stat(systemd); err != nil {
		t.Skip("systemd is not installed here")
	}
	order, err := json.Marshal(machineOrder{t.TempDir(), files})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asMachine+"="+string(order))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	m := boot(t, ctx, cmd)
	m.until("the system is up", "systemctl is-system-running", func(said string) bool {
		return strings.TrimSpace(said) == "running" || strings.TrimSpace(said) == "degraded"
	})
	return m
}

// boot starts the process that becomes systemd. At the end of the test it is killed, and
// with it everything on the machine.
func boot(t *testing.T, ctx context.Context, cmd *exec.Cmd) *machine {
	t.Helper()
	console, err := os.CreateTemp(t.TempDir(), "console")
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := cmd.Process.Kill()
		if cmd.Wait(); err != nil {
			t.Errorf("the machine had ended before: %v", err)
		}
		if said, err := os.ReadFile(console.Name()); t.Failed() && err == nil {
			t.Logf("the machine's console:\n%s", said)
		}
	})
	return &machine{t, ctx, cmd.Process.Pid}
}

// command is a shell command on the machine, as root.
func (m *machine) command(line string) *exec.Cmd {
	cmd := exec.CommandContext(m.ctx, "nsenter", "-t", strconv.Itoa(m.pid), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "/bin/bash", "-c", line)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	return cmd
}

// sh runs a command that must succeed and returns what it said.
func (m *machine) sh(line string) string {
	m.t.Helper()
	said, err := m.command(line).CombinedOutput()
	if err != nil {
		journal, _ := m.command("journalctl --no-pager -o cat -n 60").CombinedOutput()
		m.t.Fatalf("%s: %v: %s\nthe journal ends with:\n%s", line, err, said, journal)
	}
	return string(said)
}

// refuses runs a command that must fail and returns what it said.
func (m *machine) refuses(line string) string {
	m.t.Helper()
	said, err := m.command(line).CombinedOutput()
	if err == nil {
		m.t.Fatalf("%s succeeds: %s", line, said)
	}
	return string(said)
}

// until runs a command until what it says is as wanted, and returns that.
func (m *machine) until(what, line string, wanted func(string) bool) string {
	m.t.Helper()
	limit := time.After(time.Minute) // hosts of tests are slow
	for {
		said, _ := m.command(line).CombinedOutput()
		if wanted(string(said)) {
			return string(said)
		}
		select {
		case <-limit:
			journal, _ := exec.Command("nsenter", "-t", strconv.Itoa(m.pid), "-m", "-r", "journalctl", "--no-pager", "-o", "cat", "-n", "60").CombinedOutput()
			m.t.Fatalf("%s: %s last said %q\nthe journal ends with:\n%s", what, line, said, journal)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func has(text string) func(string) bool {
	return func(said string) bool { return strings.Contains(said, text) }
}

// put copies a directory onto the machine.
func (m *machine) put(from, to string) {
	m.t.Helper()
	inside := filepath.Join("/proc", strconv.Itoa(m.pid), "root", to)
	if err := os.CopyFS(inside, os.DirFS(from)); err != nil {
		m.t.Fatal(err)
	}
}

// write makes a file on the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	inside := filepath.Join("/proc", strconv.Itoa(m.pid), "root", path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(inside), 0o755), os.WriteFile(inside, []byte(text), 0o644)); err != nil {
		m.t.Fatal(err)
	}
}
