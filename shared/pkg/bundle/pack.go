package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Pack writes the plugin in dir as a package, signed where s is not nil. What it
// writes is what [Open] takes: a plugin that no agent would take is refused here.
// After an error w holds nothing of use.
func Pack(w io.Writer, dir string, s *Signer) (Index, error) {
	p, _, err := plugin.Load(dir)
	if err != nil {
		return Index{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Index{}, fmt.Errorf("pack: %w", err)
	}
	defer root.Close()
	index := Index{Format: format, ID: p.ID, Version: p.Version, Kind: p.Kind, Digest: p.Digest}
	if index.Files, err = list(root); err != nil {
		return index, fmt.Errorf("pack %s: %w", dir, err)
	}
	if err := index.check(); err != nil {
		return index, fmt.Errorf("pack %s: %w", dir, err)
	}
	raw, err := index.encode()
	if err != nil {
		return index, err
	}
	out := newWriter(w)
	err = out.begin(raw, s)
	for _, f := range index.Files {
		if err == nil {
			err = out.addFrom(root, f)
		}
	}
	if err == nil {
		err = out.close()
	}
	if err != nil {
		return index, fmt.Errorf("pack %s: %w", dir, err)
	}
	return index, nil
}

// list hashes every file below root, in the order of fs.WalkDir.
func list(root *os.Root) ([]File, error) {
	var files []File
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && plugin.Ignored(d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a link: a package holds files; put what it leads to in its place", name)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a file (%s): remove it", name, d.Type())
		case len(files) == maxFiles:
			return fmt.Errorf("%w: more than %d files", limits.ErrTooLarge, maxFiles)
		}
		f, err := describe(root, name)
		files = append(files, f)
		return err
	})
	return files, err
}

func describe(root *os.Root, name string) (File, error) {
	out := File{Path: name, Mode: plain}
	f, err := root.Open(name)
	if err != nil {
		return out, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return out, err
	}
	if info.Mode()&0o111 != 0 {
		out.Mode = executable
	}
	h := sha256.New()
	if out.Size, err = io.Copy(h, io.LimitReader(f, maxFileBytes+1)); err != nil {
		return out, err
	}
	out.SHA256 = hex.EncodeToString(h.Sum(nil))
	return out, nil
}

// Sign writes p again with a signature of s in the place of any that it has, checking
// all of it on the way.
func Sign(w io.Writer, p *Package, s *Signer) error {
	out := newWriter(w)
	if err := out.begin(p.raw, s); err != nil {
		return fmt.Errorf("sign package %s %s: %w", p.Index.ID, p.Index.Version, err)
	}
	if err := p.Each(out.add); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if err := out.close(); err != nil {
		return fmt.Errorf("sign package %s %s: %w", p.Index.ID, p.Index.Version, err)
	}
	return nil
}

// writer writes the members of a package and counts, so that nothing is made that
// no reader takes.
type writer struct {
	packed, plain counter
	zip           *gzip.Writer
	tar           *tar.Writer
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func newWriter(w io.Writer) *writer {
	o := &writer{packed: counter{w: w}}
	// Compressing as well as it goes is paid once; a header without name and time is
	// what the package leaves as it is.
	o.zip, _ = gzip.NewWriterLevel(&o.packed, gzip.BestCompression)
	o.plain.w = o.zip
	o.tar = tar.NewWriter(&o.plain)
	return o
}

func (o *writer) begin(index []byte, s *Signer) error {
	if len(index) > maxIndex {
		return fmt.Errorf("%w: an index of %d bytes, at most %d: the plugin's names are too long for so many files", limits.ErrTooLarge, len(index), maxIndex)
	}
	if err := o.member(File{Path: IndexName, Mode: plain, Size: int64(len(index))}, bytes.NewReader(index)); err != nil || s == nil {
		return err
	}
	sig, err := s.sign(index)
	if err != nil {
		return err
	}
	return o.member(File{Path: SignatureName, Mode: plain, Size: int64(len(sig))}, bytes.NewReader(sig))
}

func (o *writer) addFrom(root *os.Root, f File) error {
	src, err := root.Open(f.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	return checked(f, src, o.add)
}

func (o *writer) add(f File, content io.Reader) error { return o.member(f, content) }

func (o *writer) member(f File, content io.Reader) error {
	if err := o.tar.WriteHeader(f.header()); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if _, err := io.Copy(o.tar, content); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// header is the only one that a file of a package can have.
func (f File) header() *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: f.Size, Mode: int64(f.perm()), ModTime: time.Unix(0, 0)}
}

func (o *writer) close() error {
	if err := errors.Join(o.tar.Close(), o.zip.Close()); err != nil {
		return err
	}
	switch {
	case o.packed.n > MaxArchive:
		return fmt.Errorf("%w: a package of %d MiB, at most %d", limits.ErrTooLarge, o.packed.n>>20, MaxArchive>>20)
	case o.plain.n > unpackedLimit(o.packed.n):
		return fmt.Errorf("%w: it unpacks to %d times its size, which agents refuse beyond %d: leave out files that repeat one thing", limits.ErrTooLarge, o.plain.n/o.packed.n, maxRatio)
	}
	return nil
}
