package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Extract writes the plugin's files into root, which must be an empty directory, and
// leaves it empty again unless every file was as the index says, the tree has the
// index's digest, and its manifest is of the index's plugin and version.
//
// Files get mode 0644 or 0755 and directories 0755 whatever the umask: the processes
// that read them run as another user. Nothing is flushed to disk.
func (p *Package) Extract(ctx context.Context, root *os.Root) error {
	err := p.extract(ctx, root)
	if errors.Is(err, errNotEmpty) || err == nil {
		return err
	}
	if cerr := empty(root); cerr != nil {
		return fmt.Errorf("%w (and what was written could not be removed: %w)", err, cerr)
	}
	return err
}

var errNotEmpty = errors.New("is not empty")

func (p *Package) extract(ctx context.Context, root *os.Root) error {
	if left, err := fs.ReadDir(root.FS(), "."); err != nil {
		return fmt.Errorf("extract into %s: %w", root.Name(), err)
	} else if len(left) > 0 {
		return fmt.Errorf("extract into %s: %w", root.Name(), errNotEmpty)
	}
	digest := plugin.NewTreeDigest()
	err := p.Each(func(f File, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return write(root, f, io.TeeReader(content, digest.File(f.Path, f.executable(), f.Size)))
	})
	if err != nil {
		return err
	}
	if err := p.compare(root, digest.String()); err != nil {
		return fmt.Errorf("package %s %s: %w", p.Index.ID, p.Index.Version, err)
	}
	return nil
}

func write(root *os.Root, f File, content io.Reader) error {
	if dir := path.Dir(f.Path); dir != "." {
		if err := mkdirs(root, dir); err != nil {
			return err
		}
	}
	out, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err == nil {
		err = out.Chmod(f.perm())
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// mkdirs makes dir and what is above it, each with its mode regardless of the umask.
func mkdirs(root *os.Root, dir string) error {
	err := root.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := mkdirs(root, path.Dir(dir)); err != nil {
			return err
		}
		return mkdirs(root, dir)
	case err != nil:
		return err
	}
	return root.Chmod(dir, 0o755)
}

// compare holds what was written against what the index says about the whole.
func (p *Package) compare(root *os.Root, digest string) error {
	if digest != p.Index.Digest {
		return fmt.Errorf("its files have the digest %s, and the index says %s", digest, p.Index.Digest)
	}
	src, err := limits.ReadFileIn(root, plugin.ManifestName, strictyaml.MaxBytes)
	if err != nil {
		return err
	}
	m, _, err := plugin.ParseManifest(plugin.ManifestName, src)
	if err != nil {
		return err
	}
	if m.ID != p.Index.ID || m.Version != p.Index.Version || m.Kind != p.Index.Kind {
		return fmt.Errorf("%s is of %s %s %s, and the index says %s %s %s", plugin.ManifestName, m.Kind, m.ID, m.Version, p.Index.Kind, p.Index.ID, p.Index.Version)
	}
	return nil
}

// empty removes everything below root.
func empty(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}
