//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The base images of the Dockerfile, and what stands for them without a registry.
const (
	registryGo, registryBase = "golang:1.26-trixie", "debian:trixie-slim"
	ownGo, ownBase           = "stavily-test/golang", "stavily-test/debian"
	ownSuite                 = "trixie"
	testVersion              = "v0.0.0-docker-test"
)

func (l *lab) images(ctx context.Context) error {
	if !l.build {
		return nil
	}
	goImage, base := registryGo, registryBase
	_, err := l.docker(ctx, "pull", "--quiet", base)
	if err == nil && l.base == "" {
		_, err = l.docker(ctx, "pull", "--quiet", goImage)
	}
	if err != nil || l.base != "" {
		goImage, base = ownGo, ownBase
		if err := l.ownImages(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("  base images: %s, %s\n", goImage, base)
	out, err := l.command(ctx, "make", "--no-print-directory", "docker-build", "VERSION="+testVersion,
		"DOCKER_BUILD_FLAGS=--network host --build-arg GO_IMAGE="+goImage+" --build-arg BASE_IMAGE="+base)
	if err != nil {
		return err
	}
	fmt.Println("  " + lastLine(out))
	if goImage != ownGo {
		return nil
	}
	return l.sameBytes(ctx)
}

// ownImages are made of Debian's packages, this host's Go, and the modules that it has.
func (l *lab) ownImages(ctx context.Context) error {
	if l.base == "" {
		root := filepath.Join(l.work, "debian")
		l.base = root + ".tar"
		if _, err := l.command(ctx, "debootstrap", "--variant=minbase", ownSuite, root); err != nil {
			return fmt.Errorf("no registry answers, and debootstrap (Debian: package debootstrap; needs root) did not: %w", err)
		}
		if _, err := l.command(ctx, "tar", "-C", root, "--exclude=./var/cache/apt/archives/*.deb", "-cf", l.base, "."); err != nil {
			return err
		}
	}
	if _, err := l.docker(ctx, "import", l.base, ownBase); err != nil {
		return err
	}
	modules, err := l.modules(ctx)
	if err != nil {
		return err
	}
	goRoot, err := l.command(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	const name = "stavily-test-golang"
	if _, err := l.docker(ctx, "run", "--network", "host", "--name", name, ownBase, "sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends make"); err != nil {
		return err
	}
	for from, to := range map[string]string{goRoot: "/usr/local/go", modules: "/modules"} {
		if _, err := l.docker(ctx, "cp", from, name+":"+to); err != nil {
			return err
		}
	}
	_, err = l.docker(ctx, "commit", "--change", "ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPROXY=file:///modules GOTOOLCHAIN=local", name, ownGo)
	_, gone := l.docker(ctx, "rm", name)
	return errors.Join(err, gone)
}

// modules is a module proxy, as files, with what the programs are built from and not
// what their tests need.
func (l *lab) modules(ctx context.Context) (string, error) {
	cache, err := l.command(ctx, "go", "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	if _, err := l.command(ctx, "go", "mod", "download"); err != nil {
		return "", err
	}
	needed := filepath.Join(l.work, "modules")
	env := []string{"GOMODCACHE=" + needed, "GOFLAGS=-modcacherw", "GOPROXY=file://" + filepath.ToSlash(cache) + "/cache/download"}
	if _, err := l.with(ctx, env, "go", "list", "-deps", "./sensor-agent/cmd/sensor-agent", "./action-agent/cmd/action-agent", "./orchestrator/cmd/stavily"); err != nil {
		return "", err
	}
	return filepath.Join(needed, "cache", "download"), nil
}

// sameBytes: a program in an image is the one that `make build` gives on this host.
func (l *lab) sameBytes(ctx context.Context) error {
	flags := "-s -w -buildid= -X github.com/stavily/agents/shared/pkg/api.Version=" + testVersion
	out := filepath.Join(l.work, "sensor-agent")
	if _, err := l.with(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, "./sensor-agent/cmd/sensor-agent"); err != nil {
		return err
	}
	want, err := l.command(ctx, "sha256sum", out)
	if err != nil {
		return err
	}
	got, err := l.docker(ctx, "run", "--rm", "--network", "none", "--entrypoint", "sha256sum", "stavily/sensor-agent:latest", "/usr/local/bin/sensor-agent")
	if err != nil {
		return err
	}
	if strings.Fields(got)[0] != strings.Fields(want)[0] {
		return fmt.Errorf("sensor-agent in the image is %s, built on this host %s", got, want)
	}
	fmt.Println("  sensor-agent is byte for byte what this host builds")
	return nil
}

// inspect: R133, R135, R136, R157, and the level that plugins reach.
func (l *lab) inspect(ctx context.Context) error {
	for _, name := range []string{"sensor-agent", "action-agent", "server"} {
		out, err := l.docker(ctx, "inspect", "stavily/"+name+":latest")
		if err != nil {
			return err
		}
		var is []struct {
			Size   int64
			Config struct {
				User        string
				Entrypoint  []string
				Healthcheck struct{ Test []string }
				Labels      map[string]string
			}
		}
		if err := json.Unmarshal([]byte(out), &is); err != nil {
			return err
		}
		c := is[0].Config
		if c.User != "1000:1000" || len(c.Entrypoint) != 1 || len(c.Healthcheck.Test) < 3 || (l.build && c.Labels["org.opencontainers.image.version"] != testVersion) {
			return fmt.Errorf("image %s: %+v", name, c)
		}
		fmt.Printf("  %s: %d MB\n", name, is[0].Size/1e6)
	}
	for _, c := range []struct {
		level   string
		options []string
	}{
		{"confined", nil},
		{"confined", []string{"--security-opt", "no-new-privileges:true", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp"}},
		{"full", []string{"--security-opt", "no-new-privileges:true", "--cap-drop", "ALL", "--security-opt", "seccomp=unconfined"}},
		{"full", []string{"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"}},
	} {
		args := append([]string{"run", "--rm", "--network", "none"}, c.options...)
		out, err := l.docker(ctx, append(args, "stavily/action-agent", "sandbox", "check", "--agent-id=x", "--base-url=https://h:1")...)
		if err != nil {
			return err
		}
		if got := strings.Fields(out)[1]; strings.Split(got, "+")[0] != c.level {
			return fmt.Errorf("docker run %q: plugins at %s, want %s\n%s", c.options, got, c.level, out)
		}
		fmt.Printf("  docker run %s: level %s\n", strings.Join(c.options, " "), c.level)
	}
	return nil
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }
