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
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/test/engine"
)

const image = "stavily-attack"

// inContainer starts a world in a container with the engine's own defaults: its
// seccomp profile, its masked /proc, its capabilities.
func inContainer(ctx context.Context, s spec) (err error) {
	e, err := engine.Start(ctx, s.Dir+"-engine", "--storage-driver", "vfs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Stop()) }()
	base, err := baseImage()
	if err != nil {
		return err
	}
	said := limits.NewBuffer(16 << 10)
	load := e.Command(ctx, "import", "-", image)
	load.Stdin, load.Stderr = base, said
	if err := load.Run(); err != nil {
		return fmt.Errorf("import the image: %w: %s", err, said.Bytes())
	}
	id := strconv.Itoa(s.UID)
	return finish(e.Command(ctx, "run", "--rm", "--network", "none", "--user", id+":"+id,
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
