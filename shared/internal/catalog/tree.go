package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// Bounds of a tree, as plugin.Load has them.
const (
	maxFiles = 10_000
	maxBytes = 512 << 20
)

// Copy puts what counts of the plugin in from (see plugin.Load) into the empty directory
// to. Links are kept where they stay inside; one that leads out is refused.
func Copy(ctx context.Context, from, to string) error {
	src, err := os.OpenRoot(from)
	if err != nil {
		return fmt.Errorf("copy the plugin: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenRoot(to)
	if err != nil {
		return fmt.Errorf("copy the plugin: %w", err)
	}
	defer dst.Close()
	c := &copying{from: from, src: src, dst: dst, left: maxBytes}
	err = fs.WalkDir(src.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		return c.entry(name, d)
	})
	if err != nil {
		return fmt.Errorf("copy the plugin in %s: %w", from, err)
	}
	return nil
}

type copying struct {
	from     string
	src, dst *os.Root
	files    int
	left     int64
}

func (c *copying) entry(name string, d fs.DirEntry) error {
	if c.files++; c.files > maxFiles {
		return fmt.Errorf("%w: more than %d files", limits.ErrTooLarge, maxFiles)
	}
	switch {
	case d.IsDir():
		if ignored(d.Name()) {
			return fs.SkipDir
		}
		return c.dst.Mkdir(name, dirMode)
	case d.Type()&fs.ModeSymlink != 0:
		return c.link(name)
	case d.Type().IsRegular():
		return c.file(name)
	}
	return nil // sockets and pipes hold nothing
}

func (c *copying) link(name string) error {
	target, err := c.src.Readlink(name)
	if err != nil {
		return err
	}
	if LeadsOut(name, target) {
		return fmt.Errorf("%s leads out of the plugin, to %s: put a copy in its place", filepath.Join(c.from, name), target)
	}
	return c.dst.Symlink(target, name)
}

// LeadsOut reports whether a link of this name, relative to the plugin's directory, has
// a target outside.
func LeadsOut(name, target string) bool {
	inside := path.Join(path.Dir(name), filepath.ToSlash(target))
	return filepath.IsAbs(target) || path.IsAbs(target) || inside == ".." || strings.HasPrefix(inside, "../")
}

func (c *copying) file(name string) error {
	in, err := c.src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s changes while it is read", name)
	}
	out, err := c.dst.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode(info.Mode()))
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, c.left+1))
	if c.left -= n; err == nil && c.left < 0 {
		err = fmt.Errorf("%w: more than %d MiB in all files", limits.ErrTooLarge, maxBytes>>20)
	}
	return errors.Join(err, out.Close())
}

func fileMode(m fs.FileMode) fs.FileMode {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// seal gives a tree the modes of the store and flushes it to the disk.
func seal(ctx context.Context, dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if err := os.Chmod(name, dirMode); err != nil {
				return err
			}
			return atomicfile.SyncDir(name)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Chmod(name, fileMode(info.Mode())); err != nil {
			return err
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
