package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/pkg/api"
)

// unit is a service as systemd would start it. systemd does not run where tests do, so
// a process of this program does what it does and then becomes the agent: User=,
// NoNewPrivileges=, CapabilityBoundingSet= (empty), ProtectSystem=strict, ReadWritePaths=,
// PrivateTmp=, ProtectHome=, and, where Kernel is set, ProtectKernelTunables=,
// ProtectKernelLogs= and ProtectControlGroups=. ProtectKernelModules= takes away a
// capability and system calls that nothing here has.
type unit struct {
	UID       int
	ReadWrite string   // what stays writable
	Keep      []string // what PrivateTmp must not hide, because the test has it in /tmp
	Kernel    bool
	Path      string
	Args, Env []string
}

// asUnit makes a process of this program a service manager for one unit.
const asUnit = "TEST_AS_UNIT"

func init() { helpers[asUnit] = becomeUnit }

// becomeUnit sets the unit's world up and becomes its program. It runs in a mount
// namespace of its own, all of it on one thread: what is given up belongs to that.
func becomeUnit(order string) error {
	runtime.LockOSThread()
	var u unit
	if err := json.Unmarshal([]byte(order), &u); err != nil {
		return err
	}
	if err := u.mounts(); err != nil {
		return err
	}
	for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_READ, c, 0, 0, 0) == nil; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(u.UID), syscall.Setuid(u.UID)); err != nil {
		return fmt.Errorf("become user %d: %w", u.UID, err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	return fmt.Errorf("start %s: %w", u.Path, syscall.Exec(u.Path, append([]string{u.Path}, u.Args...), u.Env))
}

func (u unit) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leave the host's mounts: %w", err)
	}
	kept := map[string]int{}
	for _, path := range append(u.Keep, u.ReadWrite) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		kept[path] = fd
	}
	for _, dir := range []string{"/tmp", "/var/tmp"} { // PrivateTmp
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return fmt.Errorf("private %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/home", "/root", "/run/user"} { // ProtectHome
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0"); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	for path, fd := range kept {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
	}
	return u.readOnly()
}

// readOnly is ProtectSystem=strict and ProtectKernelTunables.
func (u unit) readOnly() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		at := strings.Fields(line)[1]
		writable := at == "/dev" || strings.HasPrefix(at, "/dev/") || at == u.ReadWrite || at == "/tmp" || at == "/var/tmp"
		kernel := at == "/proc" || strings.HasPrefix(at, "/proc/") || at == "/sys" || strings.HasPrefix(at, "/sys/")
		if writable || kernel && (!u.Kernel || at == "/proc") {
			continue
		}
		// What another test has mounted below /tmp is hidden by the private one.
		if err := setReadOnly(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !u.Kernel {
		return nil
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/irq", "/proc/bus", "/proc/acpi"} {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = setReadOnly(path)
		}
		if err != nil {
			return fmt.Errorf("protect %s: %w", path, err)
		}
	}
	return unix.Mount("/dev/null", "/proc/kmsg", "", unix.MS_BIND, "")
}

func setReadOnly(at string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, at, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("remount %s read-only: %w", at, err)
	}
	return nil
}

// unitUser is nobody's: no account, no files but what the test gives it.
const unitUser = 60123

// startAsUnit starts an enrolled agent as a service and returns once it has told its
// posture.
func (w *world) startAsUnit(id api.AgentID, kernel bool) *api.Posture {
	w.t.Helper()
	a := w.Agent(id)
	w.must(os.Chmod(binDir, 0o755))
	w.must(filepath.WalkDir(a.Base, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, unitUser, unitUser))
	}))
	order, err := json.Marshal(unit{
		UID: unitUser, ReadWrite: a.Base, Keep: []string{binDir}, Kernel: kernel,
		Path: filepath.Join(binDir, "action-agent"), Args: []string{"--config", filepath.Join(a.Base, "config", "agent.yaml")},
		Env: environ("STAVILY_PLUGINS_PYTHON_INTERPRETER=/usr/bin/python3"), // ProtectHome hides others
	})
	w.must(err)
	self, err := os.Executable()
	w.must(err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asUnit+"="+string(order))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	inBackground(w.t, cmd)
	return w.reports(id)
}

// The levels that docs/sandbox.md promises under systemd.
func TestLevelsUnderSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to imitate a service manager takes root")
	}
	for name, c := range map[string]struct {
		kernel bool
		level  api.SandboxLevel
		proc   bool // plugins have a /proc of their own
	}{
		"original":    {true, api.SandboxFull, false},
		"recommended": {false, api.SandboxFull, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(fmt.Sprintf("name: w\ntriggers:\n  - event: old.chatty\nactions:\n  - {plugin: old-stdio-action, sandbox: %s, with: {type: a, data: 1}}\n", c.level))
			w.agent("web-01-fix", api.Action, []string{"old-stdio-action"}, nil)
			posture := w.startAsUnit("web-01-fix", c.kernel)
			proc := strings.HasPrefix(posture.Layers["proc"], api.LayerEnforced)
			if posture.Level != c.level || proc != c.proc {
				t.Fatalf("it reports %s, /proc %q, without %v; want %s, /proc %v", posture, posture.Layers["proc"], posture.Lacks(), c.level, c.proc)
			}
			w.agent("web-01", api.Sensor, []string{"old-chatty-sensor"}, map[string]string{"chatty": "plugin: old-chatty-sensor\ninterval: 1s\n"})
			w.start("web-01")
			if r := w.awaitRun(); r.Status != "completed" || r.Steps[0].Result.Sandbox.Level != c.level {
				t.Errorf("the step at level %s: %+v", c.level, r)
			}
		})
	}
}
