package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// Package is a package whose index was read and checked. Nothing says yet who made it.
type Package struct {
	Index Index

	r    io.ReaderAt
	size int64
	raw  []byte // the index as it stands in the archive, which is what is signed
	sig  []byte // armored; empty where it is not signed
}

// Open reads the index and the signature of the package in r. Nothing beyond them is
// looked at.
func Open(r io.ReaderAt, size int64) (*Package, error) {
	if size > MaxArchive {
		return nil, fmt.Errorf("open package: %w: %d bytes, at most %d MiB", limits.ErrTooLarge, size, MaxArchive>>20)
	}
	p := &Package{r: r, size: size}
	in, err := p.stream()
	if err == nil {
		p.raw, p.sig, err = in.begin()
	}
	if err == nil {
		p.Index, err = parseIndex(p.raw)
	}
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	return p, nil
}

// Signed reports whether there is a signature, good or bad.
func (p *Package) Signed() bool { return len(p.sig) > 0 }

// Signature is the armored SSH signature, or nothing.
func (p *Package) Signature() []byte { return bytes.Clone(p.sig) }

// Verify finds the trusted key that signed the index and names it: fingerprint and
// comment. It says nothing about the files, whose hashes Extract compares.
func (p *Package) Verify(trusted Keys) (signer string, err error) {
	name := fmt.Sprintf("package %s %s", p.Index.ID, p.Index.Version)
	switch {
	case !p.Signed():
		return "", fmt.Errorf("%s %w: sign it with `stavily plugin sign`", name, ErrUnsigned)
	case len(trusted) == 0:
		return "", fmt.Errorf("%s %w: plugins.trusted_keys names no key", name, ErrUntrusted)
	}
	key, err := trusted.verify(p.raw, p.sig)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return key.String(), nil
}

// Want is what somebody asked for. What is zero was not asked.
type Want struct {
	ID      api.PluginID
	Version string
	Digest  string // of the tree
	Over    string // the version there is: nothing older takes its place
}

// Check compares the index with what was to come.
func (p *Package) Check(w Want) error {
	i := p.Index
	switch {
	case w.ID != "" && w.ID != i.ID:
		return fmt.Errorf("the package is of plugin %s, and %s was asked for", i.ID, w.ID)
	case w.Version != "" && w.Version != i.Version:
		return fmt.Errorf("the package of %s holds version %s, and %s was asked for", i.ID, i.Version, w.Version)
	case w.Digest != "" && w.Digest != i.Digest:
		return fmt.Errorf("the package of %s %s holds %s, and %s was asked for", i.ID, i.Version, i.Digest, w.Digest)
	case w.Over != "" && older(i.Version, w.Over):
		return fmt.Errorf("version %s of %s is older than %s, which is installed: go back with `plugins rollback`", i.Version, i.ID, w.Over)
	}
	return nil
}

func older(a, b string) bool {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errA != nil || errB != nil {
		return a < b // what is installed was checked, as the index was
	}
	return va.LessThan(vb)
}

// Each gives every file in order, with its content. The content that fn is given is
// checked as fn reads it, and must be read to its end; a fault is returned after.
// Anything in the archive that is not what the index says is an error.
func (p *Package) Each(fn func(File, io.Reader) error) error {
	err := p.each(fn)
	if err != nil {
		return fmt.Errorf("package %s %s: %w", p.Index.ID, p.Index.Version, err)
	}
	return nil
}

func (p *Package) each(fn func(File, io.Reader) error) error {
	in, err := p.stream()
	if err != nil {
		return err
	}
	raw, sig, err := in.begin()
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, p.raw) || !bytes.Equal(sig, p.sig) {
		return errors.New("the file was replaced while it was read: try again")
	}
	for _, f := range p.Index.Files {
		if err := in.expect(f); err != nil {
			return err
		}
		if err := checked(f, in.tar, fn); err != nil {
			return err
		}
	}
	return in.end()
}

// checked passes content on to fn and compares what went by with f.
func checked(f File, content io.Reader, fn func(File, io.Reader) error) error {
	h := sha256.New()
	// One byte more than is right is read, so that too much is noticed and not copied.
	in := &counting{r: io.TeeReader(io.LimitReader(content, f.Size+1), h)}
	if err := fn(f, in); err != nil {
		return err
	}
	if in.n != f.Size {
		return fmt.Errorf("%s: has not the %d bytes that the index says", f.Path, f.Size)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%s: its content is not the one of the index (SHA-256 %s, want %s)", f.Path, got, f.SHA256)
	}
	return nil
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// input is an archive that is read from its beginning to its end.
type input struct {
	packed  *bufio.Reader
	zip     *gzip.Reader
	plain   io.Reader // zip under the limit
	tar     *tar.Reader
	pending *tar.Header // read to see whether it is the signature
}

// unpackedLimit is what an archive of n bytes may expand to. Small ones are let off
// the ratio: a few tiny files are mostly padding.
func unpackedLimit(n int64) int64 {
	const small, overhead = 1 << 20, maxIndex + maxFiles*2048 // headers and padding
	return min(max(maxRatio*n, small), maxFileBytes+overhead)
}

func (p *Package) stream() (*input, error) {
	in := &input{packed: bufio.NewReader(io.NewSectionReader(p.r, 0, p.size))}
	var err error
	if in.zip, err = gzip.NewReader(in.packed); err != nil {
		return nil, fmt.Errorf("is not a gzip file: %w", err)
	}
	in.zip.Multistream(false)
	if h := in.zip.Header; h.Name != "" || h.Comment != "" || len(h.Extra) > 0 || !h.ModTime.IsZero() {
		return nil, errors.New("its gzip header has a name, comment or time, which no package has: make it with `stavily plugin pack`")
	}
	in.plain = &capped{r: in.zip, left: unpackedLimit(p.size), size: p.size}
	in.tar = tar.NewReader(in.plain)
	return in, nil
}

// capped ends a stream with an error where it grows beyond what its size allows.
type capped struct {
	r          io.Reader
	left, size int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		var more [1]byte
		if n, err := c.r.Read(more[:]); n == 0 && err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w: %d bytes unpack to more than %d", limits.ErrTooLarge, c.size, unpackedLimit(c.size))
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

// begin reads the index and, where it follows, the signature.
func (in *input) begin() (index, sig []byte, err error) {
	h, err := in.next()
	if err != nil {
		return nil, nil, err
	}
	if h == nil || h.Name != IndexName {
		return nil, nil, fmt.Errorf("is not a plugin's package: it does not begin with %s; make it with `stavily plugin pack`", IndexName)
	}
	if index, err = in.text(h, maxIndex); err != nil {
		return nil, nil, err
	}
	if in.pending, err = in.next(); err != nil {
		return nil, nil, err
	}
	if in.pending == nil || in.pending.Name != SignatureName {
		return index, nil, nil
	}
	h, in.pending = in.pending, nil
	sig, err = in.text(h, maxSignature)
	if err == nil && len(sig) == 0 {
		err = fmt.Errorf("%s: is empty", h.Name)
	}
	return index, sig, err
}

func (in *input) text(h *tar.Header, max int64) ([]byte, error) {
	if err := sameHeader(h, File{Path: h.Name, Mode: plain, Size: h.Size}); err != nil {
		return nil, err
	}
	b, err := limits.ReadAll(in.tar, max)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, damaged(err))
	}
	return b, nil
}

var errDamaged = errors.New("is damaged or cut off")

// damaged says for people what an error of the archive's readers means.
func damaged(err error) error {
	if errors.Is(err, errDamaged) || errors.Is(err, limits.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// next gives the next member's header, or nil at the end.
func (in *input) next() (*tar.Header, error) {
	if h := in.pending; h != nil {
		in.pending = nil
		return h, nil
	}
	h, err := in.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, damaged(err)
	}
	return h, nil
}

// expect takes the next member, which has to be f.
func (in *input) expect(f File) error {
	h, err := in.next()
	switch {
	case err != nil:
		return err
	case h == nil:
		return fmt.Errorf("%s is missing, which the index names", f.Path)
	}
	return sameHeader(h, f)
}

// sameHeader refuses a member that says anything but what f is.
func sameHeader(h *tar.Header, f File) error {
	want := f.header()
	switch {
	case h.Name != want.Name:
		return fmt.Errorf("%q stands where the index has %s", shorten(h.Name), f.Path)
	case h.Typeflag != want.Typeflag:
		return fmt.Errorf("%s is %s: a package holds files only", f.Path, cmp.Or(kinds[h.Typeflag], fmt.Sprintf("a member of type %q", h.Typeflag)))
	case h.Size != want.Size:
		return fmt.Errorf("%s has %d bytes, and the index says %d", f.Path, h.Size, want.Size)
	case h.Mode != want.Mode:
		return fmt.Errorf("%s has mode %04o, and the index says %s", f.Path, h.Mode, f.Mode)
	case h.Linkname != "", h.Uid != 0, h.Gid != 0, h.Uname != "", h.Gname != "", h.Devmajor != 0, h.Devminor != 0,
		!h.ModTime.Equal(time.Unix(0, 0)), !h.AccessTime.IsZero(), !h.ChangeTime.IsZero():
		return fmt.Errorf("%s has an owner, a time or a link in its header, which no package has: make it with `stavily plugin pack`", f.Path)
	case h.Format != tar.FormatUSTAR && !onlyPath(h):
		return fmt.Errorf("%s has a header of form %v with %d records, which no package has: make it with `stavily plugin pack`", f.Path, h.Format, len(h.PAXRecords))
	}
	return nil
}

// onlyPath: a name that is too long for the plain header is the only extension.
func onlyPath(h *tar.Header) bool {
	_, path := h.PAXRecords["path"]
	return h.Format == tar.FormatPAX && path && len(h.PAXRecords) == 1
}

var kinds = map[byte]string{
	tar.TypeLink: "a hard link", tar.TypeSymlink: "a symbolic link", tar.TypeChar: "a device", tar.TypeBlock: "a device",
	tar.TypeDir: "a directory", tar.TypeFifo: "a named pipe", tar.TypeGNUSparse: "a file with holes", tar.TypeCont: "of a reserved type",
}

func shorten(name string) string {
	const enough = 60
	if len(name) > enough {
		return name[:enough] + "…"
	}
	return name
}

// end sees that nothing follows the last member, in the archive or after it.
func (in *input) end() error {
	h, err := in.next()
	switch {
	case err != nil:
		return err
	case h != nil:
		return fmt.Errorf("%q is in the archive and not in the index", shorten(h.Name))
	}
	// Reading to the end also compares gzip's own checksum.
	n, err := io.Copy(io.Discard, in.plain)
	switch {
	case err != nil:
		return damaged(err)
	case n > 0:
		return fmt.Errorf("%d bytes follow the last file", n)
	}
	if _, err := in.packed.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("more follows the archive")
	}
	return nil
}
