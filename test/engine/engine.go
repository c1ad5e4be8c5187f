//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// Missing says why no engine can be started here; empty when one can.
func Missing() string {
	for _, name := range []string{"dockerd", "docker", "containerd", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			return "needs " + name + " (Debian: package docker.io)"
		}
	}
	return ""
}

// Engine is a daemon that runs.
type Engine struct {
	Host string // what its clients call DOCKER_HOST

	dir    string
	daemon *exec.Cmd
	said   *limits.Buffer
}

// startLimit is many times what an engine takes to answer.
const startLimit = time.Minute

// Start makes dir and starts an engine in it, with more options of dockerd.
func Start(ctx context.Context, dir string, options ...string) (*Engine, error) {
	e := &Engine{Host: "unix://" + filepath.Join(dir, "s"), dir: dir, said: limits.NewBuffer(256 << 10)}
	e.daemon = exec.CommandContext(ctx, "dockerd", append([]string{"--host", e.Host, "--pidfile", filepath.Join(dir, "pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--iptables=false", "--ip6tables=false", "--bridge=none"}, options...)...)
	e.daemon.Stdout, e.daemon.Stderr = e.said, e.said
	e.daemon.Cancel = func() error { return e.daemon.Process.Signal(syscall.SIGTERM) }
	e.daemon.WaitDelay = 10 * time.Second
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := e.daemon.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(100 * time.Millisecond) {
		err := e.Command(ctx, "version").Run()
		if err == nil {
			return e, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("the engine does not answer: %w\n%s", err, e.said.Bytes()), e.Stop())
		}
	}
}

// Command is one of the engine's client.
func (e *Engine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "docker", append([]string{"--host", e.Host}, args...)...)
}

// Stop ends the engine, which ends its containers first and leaves only files in its
// directory.
func (e *Engine) Stop() error {
	err := e.daemon.Process.Signal(syscall.SIGTERM)
	if wait := e.daemon.Wait(); wait != nil {
		err = errors.Join(err, fmt.Errorf("stop the engine: %w", wait))
	}
	// It leaves the network namespace of the host mounted for the next engine here.
	left, globbed := filepath.Glob(filepath.Join(e.dir, "exec", "netns", "*"))
	err = errors.Join(err, globbed)
	for _, mount := range left {
		if unmounted := syscall.Unmount(mount, syscall.MNT_DETACH); unmounted != nil && !errors.Is(unmounted, syscall.EINVAL) {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", mount, unmounted))
		}
	}
	return err
}
