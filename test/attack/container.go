//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// noContainers says why no container can be started here; empty when one can.
func noContainers() string {
	for _, name := range []string{"dockerd", "docker", "containerd", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			return "needs " + name + " (Debian: package docker.io)"
		}
	}
	return ""
}

// engine is a container engine of our own, beside any that the host has: everything of
// it is in one directory, and it touches neither the host's network nor its rules.
type engine struct {
	socket string
	daemon *exec.Cmd
	said   *limits.Buffer
}

// engineLimit is thirty times what an engine takes to answer.
const engineLimit = 15 * time.Second

func startEngine(ctx context.Context, dir string) (*engine, error) {
	e := &engine{socket: "unix://" + filepath.Join(dir, "s"), said: limits.NewBuffer(256 << 10)}
	e.daemon = exec.CommandContext(ctx, "dockerd", "--host", e.socket, "--pidfile", filepath.Join(dir, "pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--storage-driver", "vfs",
		"--iptables=false", "--ip6tables=false", "--bridge=none")
	e.daemon.Stdout, e.daemon.Stderr = e.said, e.said
	e.daemon.Cancel = func() error { return e.daemon.Process.Signal(syscall.SIGTERM) }
	e.daemon.WaitDelay = 10 * time.Second
	if err := errors.Join(os.Mkdir(dir, 0o700), e.daemon.Start()); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(engineLimit); ; time.Sleep(100 * time.Millisecond) {
		err := e.command(ctx, "version").Run()
		if err == nil {
			return e, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("the engine does not answer: %w\n%s", err, e.said.Bytes()), e.stop())
		}
	}
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "docker", append([]string{"--host", e.socket}, args...)...)
}

// stop ends the engine, which ends its containers first.
func (e *engine) stop() error {
	err := e.daemon.Process.Signal(syscall.SIGTERM)
	if wait := e.daemon.Wait(); wait != nil {
		err = errors.Join(err, fmt.Errorf("stop the engine: %w", wait))
	}
	return err
}

const image = "stavily-attack"

// inContainer starts a world in a container with the engine's own defaults: its
// seccomp profile, its masked /proc, its capabilities.
func inContainer(ctx context.Context, s spec) (err error) {
	e, err := startEngine(ctx, s.Dir+"-engine")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	base, err := baseImage()
	if err != nil {
		return err
	}
	said := limits.NewBuffer(16 << 10)
	load := e.command(ctx, "import", "-", image)
	load.Stdin, load.Stderr = base, said
	if err := load.Run(); err != nil {
		return fmt.Errorf("import the image: %w: %s", err, said.Bytes())
	}
	id := strconv.Itoa(s.UID)
	return finish(e.command(ctx, "run", "--rm", "--network", "none", "--user", id+":"+id,
		"--volume", "/usr:/usr:ro", "--volume", s.Bin+":"+s.Bin+":ro", "--volume", s.Dir+":"+s.Dir,
		image, filepath.Join(s.Bin, "attack"), "world", s.Dir), s)
}

// baseImage is a root directory whose programs are the host's, mounted at /usr: made
// in a moment, and with the same interpreter as the other configurations.
func baseImage() (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []string{"usr", "etc", "proc", "sys", "dev", "run", "var", "tmp"} {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode}); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64", "lib32"} {
		to, err := os.Readlink("/" + name)
		if err != nil || !strings.HasPrefix(strings.TrimPrefix(to, "/"), "usr/") {
			continue // a host without a merged /usr cannot lend its programs this way; the run says so
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	passwd := "root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/tmp:/bin/sh\n"
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))}); err != nil {
		return nil, err
	}
	_, err := io.WriteString(w, passwd)
	return &out, errors.Join(err, w.Close())
}
