package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"github.com/stavily/agents/internal/limits"
)

// launcherName is argv[0] of a launcher. No program of ours is installed under it.
const launcherName = "stavily-launch"

// Descriptors of a launcher besides the plugin's standard files.
const (
	orderFD  = 3
	statusFD = 4
)

// committed is what a launcher writes right before execve. After it, silence means
// success and digits are the errno of a failed execve; silence without it means
// that the launcher died.
const committed = '+'

const (
	maxOrder  = 4 << 20 // Linux takes at most 2 MiB of arguments and environment by default (execve(2))
	maxStatus = 4 << 10
)

// order is what the agent tells a launcher.
type order struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Dir     string   `json:"dir"`
	Parent  int      `json:"parent"` // the agent: whoever else is the parent means that it died
	RLimits []rlimit `json:"rlimits"`
	Files   int      `json:"files"` // further descriptors of the plugin, after the launcher's
}

// launch starts a launcher, hands it the order and waits until it became the
// plugin or said why not.
func launch(ctx context.Context, s *Spec) (*tree, error) {
	if err := executable(s); err != nil {
		return nil, err
	}
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderR.Close()
	defer orderW.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer statusR.Close()
	defer statusW.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := append([]*os.File{s.Stdin, s.Stdout, s.Stderr, orderR, statusW}, s.Files...)
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	t, err := fork(files)
	if err != nil {
		return nil, err
	}
	orderR.Close() // so that writing to a dead launcher fails, and reading from it ends
	statusW.Close()
	stop := context.AfterFunc(ctx, func() { syscall.Kill(t.pid, syscall.SIGKILL) })
	err = instruct(s, orderW, statusR)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		t.abandon()
		return nil, err
	}
	return t, nil
}

// instruct sends the order and reads the launcher's verdict.
func instruct(s *Spec, orderW io.WriteCloser, statusR io.Reader) error {
	path, args := s.command()
	o := order{Path: path, Args: args, Env: s.Env, Dir: s.Dir, Parent: os.Getpid(), RLimits: s.Limits.rlimits(), Files: len(s.Files)}
	sendErr := json.NewEncoder(orderW).Encode(o)
	orderW.Close()
	status, err := limits.ReadAll(statusR, maxStatus)
	switch {
	case err != nil:
		return fmt.Errorf("read the launcher's status: %w", err)
	case len(status) == 1 && status[0] == committed:
		return nil
	case len(status) > 1 && status[0] == committed:
		n, err := strconv.Atoi(string(status[1:]))
		if err != nil {
			return fmt.Errorf("execute it: %s", status[1:])
		}
		return execError(syscall.Errno(n))
	case len(status) > 0:
		return errors.New(string(status))
	case sendErr != nil:
		return fmt.Errorf("send the launcher its order: %w", sendErr)
	}
	return errors.New("the launcher died; its last words are in the plugin's log")
}

// fork starts a launcher, which the keeper knows before it gets its order.
func fork(files []*os.File) (*tree, error) {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	path, err := executablePath()
	if err != nil {
		return nil, fmt.Errorf("start the launcher: %w", err)
	}
	attr := &syscall.ProcAttr{Env: launcherEnv, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true}}
	pid, err := onForkThread(func() (int, error) { return syscall.ForkExec(path, []string{launcherName}, attr) })
	runtime.KeepAlive(files)
	if err != nil {
		return nil, fmt.Errorf("start the launcher %s: %w", path, err)
	}
	t := &tree{pid: pid, start: startOf(pid)}
	if err := remember(pid); err != nil {
		t.abandon()
		return nil, err
	}
	return t, nil
}

// launcherEnv keeps the launcher's Go runtime from starting threads and from
// collecting garbage: it lives for two milliseconds.
var launcherEnv = []string{"GOMAXPROCS=1", "GOGC=off"}
