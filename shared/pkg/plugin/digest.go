package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/stavily/agents/internal/limits"
)

// Bounds of one plugin. Large ones bring wheels or models; beyond these it is a
// mistake, such as a home directory with a plugin.yaml in it.
const (
	maxFiles      = 10_000
	maxTotalBytes = 512 << 20
)

// ignored directories hold what running and versioning leave, not what runs.
var ignored = []string{".git", "__pycache__", ".venv"}

// Ignored reports whether a directory of this name is no part of a plugin.
func Ignored(name string) bool { return slices.Contains(ignored, name) }

// TreeDigest computes the digest of [Load] from entries that come one by one, in the
// order of fs.WalkDir. Each part is preceded by its length, so that no two trees write
// the same bytes.
type TreeDigest struct{ h hash.Hash }

// NewTreeDigest is the digest of no file.
func NewTreeDigest() *TreeDigest { return &TreeDigest{sha256.New()} }

// File adds a file, of which exactly size bytes are to be written before anything else.
func (t *TreeDigest) File(path string, executable bool, size int64) io.Writer {
	fmt.Fprintf(t.h, "file %d %s %t %d\n", len(path), path, executable, size)
	return t.h
}

func (t *TreeDigest) link(path, target string) {
	fmt.Fprintf(t.h, "link %d %s %d %s\n", len(path), path, len(target), target)
}

// String is the digest of what was added: "sha256:" and hex.
func (t *TreeDigest) String() string { return "sha256:" + hex.EncodeToString(t.h.Sum(nil)) }

// digestOf hashes everything below root in the order of its paths.
func digestOf(root *os.Root) (string, error) {
	t := NewTreeDigest()
	files, left := 0, int64(maxTotalBytes)
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if Ignored(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("%w: more than %d files", limits.ErrTooLarge, maxFiles)
		}
		n, err := digestFile(t, root, path, d, left)
		left -= n
		return err
	})
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// digestFile adds one entry and reports its size.
func digestFile(t *TreeDigest, root *os.Root, path string, d fs.DirEntry, left int64) (int64, error) {
	switch mode := d.Type(); {
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(path)
		if err != nil {
			return 0, err
		}
		t.link(path, target)
		return 0, nil
	case !mode.IsRegular():
		return 0, nil // sockets and pipes hold nothing
	}
	f, err := root.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(t.File(path, info.Mode()&0o111 != 0, info.Size()), io.LimitReader(f, left+1))
	switch {
	case err != nil:
		return n, err
	case n > left:
		return n, fmt.Errorf("%w: more than %d MiB in all files", limits.ErrTooLarge, maxTotalBytes>>20)
	case n != info.Size():
		return n, fmt.Errorf("%s changes while it is read", path)
	}
	return n, nil
}
