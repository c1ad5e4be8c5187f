//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/test/engine"
)

// lab is what every step needs.
type lab struct {
	work    string   // a directory of ours
	host    string   // DOCKER_HOST; empty for the engine of this user
	compose []string // the program, and its first arguments
	build   bool     // the images; false tests those that are there
	base    string   // a tar of a Debian root directory, instead of a registry
	started time.Time
}

func main() {
	l := &lab{started: time.Now()}
	flag.StringVar(&l.base, "base", "", "tar of a Debian root directory for the base images; by default from a registry, else made with debootstrap")
	flag.BoolVar(&l.build, "build", true, "build the images; false tests those that are there")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := l.run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "docker-test:", err)
		os.Exit(1)
	}
	fmt.Printf("\neverything held, in %s\n", time.Since(l.started).Round(time.Second))
}

func (l *lab) run(ctx context.Context) (err error) {
	if l.work, err = os.MkdirTemp("", "stavily-docker-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.work)) }()
	if err := os.Chmod(l.work, 0o755); err != nil { // user 1000 of the containers passes through
		return err
	}
	if _, absent := l.docker(ctx, "version"); absent != nil {
		if missing := engine.Missing(); missing != "" || os.Geteuid() != 0 {
			return fmt.Errorf("no engine answers, and to start one takes root and its programs (%s): %w", missing, absent)
		}
		own, failed := engine.Start(ctx, filepath.Join(l.work, "engine"))
		if failed != nil {
			return failed
		}
		l.host = own.Host
		defer func() { err = errors.Join(err, own.Stop()) }()
		fmt.Println("an engine of our own")
	}
	if l.compose, err = l.composeProgram(ctx); err != nil {
		return err
	}
	defer l.docker(context.WithoutCancel(ctx), "rm", "-f", serverName)
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"images", l.images},
		{"what the images are", l.inspect},
		{"docker-compose.yml", l.composeFile},
		{"a pod's mounts and restrictions", l.pod},
		{"a pod that is enrolled from within", l.enrolledPod},
		{"the quick start, without arguments", l.quickStart},
		{"docker-compose.dev.yml", l.dev},
	} {
		fmt.Printf("\n=== %s (%s)\n", s.name, time.Since(l.started).Round(time.Second))
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (l *lab) composeProgram(ctx context.Context) ([]string, error) {
	for _, p := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if _, err := l.command(ctx, p[0], append(p[1:], "version")...); err == nil {
			return p, nil
		}
	}
	return nil, errors.New("needs docker compose (Debian: package docker-compose)")
}

// command runs a program of this host at the engine and gives what it printed.
func (l *lab) command(ctx context.Context, name string, args ...string) (string, error) {
	return l.with(ctx, nil, name, args...)
}

func (l *lab) with(ctx context.Context, env []string, name string, args ...string) (string, error) {
	out, said := limits.NewBuffer(1<<20), limits.NewBuffer(64<<10)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if l.host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+l.host)
	}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), said.Bytes())
	}
	return string(bytes.TrimSpace(out.Bytes())), nil
}

func (l *lab) docker(ctx context.Context, args ...string) (string, error) {
	return l.command(ctx, "docker", args...)
}

// patience is many times what each thing that is waited for takes.
const patience = 2 * time.Minute

// eventually waits until do finds what it looks for; its last answer is the reason.
func eventually(ctx context.Context, what string, do func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := do()
		if err == nil {
			fmt.Println("  " + what)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s: %w", patience, what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (l *lab) healthy(ctx context.Context, container string) error {
	return eventually(ctx, container+" is healthy", func() error {
		status, err := l.docker(ctx, "inspect", "--format", "{{.State.Health.Status}}", container)
		if err == nil && status != "healthy" {
			logs, _ := l.docker(ctx, "logs", "--tail", "5", container)
			err = fmt.Errorf("it is %q\n%s", status, logs)
		}
		return err
	})
}
