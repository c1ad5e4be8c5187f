package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
)

const maxManifest = 64 << 20

// sealed is how an encrypted backup begins.
const sealed = "age-encryption.org/"

// Restore makes the data directory dir of a backup. finish sees what is to become of it, and
// may change it, before it has its name; its error leaves nothing.
func Restore(ctx context.Context, file, dir string, open []age.Identity, finish func(dir string, m Manifest) error) (m Manifest, err error) {
	if err := free(dir); err != nil {
		return m, err
	}
	f, err := os.Open(file)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dir = filepath.Clean(dir)
	beside := dir + ".restore"
	if err := os.RemoveAll(beside); err != nil {
		return m, err
	}
	if err := os.MkdirAll(beside, 0o700); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(beside)) }()
	if m, err = unpack(ctx, f, beside, open); err != nil {
		return m, fmt.Errorf("backup %s: %w", file, err)
	}
	wrong, err := sqlite.Integrity(ctx, filepath.Join(beside, Database))
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("its database is damaged: %s", wrong[0])
	}
	if err != nil {
		return m, fmt.Errorf("backup %s: %w", file, err)
	}
	if err := finish(beside, m); err != nil {
		return m, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if err := os.Rename(beside, dir); err != nil {
		return m, err
	}
	return m, atomicfile.SyncDir(filepath.Dir(dir))
}

// free refuses a directory that has anything.
func free(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty (it has %s): stop the server that uses it, and move it away; nothing is restored over a state that is there", dir, entries[0].Name())
	}
	return err
}

func unpack(ctx context.Context, f io.Reader, dir string, open []age.Identity) (m Manifest, err error) {
	stream, err := opened(f, open)
	if err != nil {
		return m, err
	}
	zip, err := gzip.NewReader(stream)
	if err != nil {
		return m, fmt.Errorf("it is no backup: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	found := []File{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return m, fmt.Errorf("it is damaged: %w", err)
		}
		if h.Name == manifest {
			if err := limits.DecodeJSON(r, maxManifest, &m); err != nil {
				return m, fmt.Errorf("%s: %w", manifest, err)
			}
			continue
		}
		one, err := extract(root, h, r)
		if err != nil {
			return m, err
		}
		found = append(found, one)
	}
	// To the end, where the checksum of gzip and the tag of age are.
	if _, err := io.Copy(io.Discard, zip); err != nil {
		return m, fmt.Errorf("it is damaged: %w", err)
	}
	return m, m.matches(found)
}

// opened is the backup without its seal, if it has one.
func opened(f io.Reader, open []age.Identity) (io.Reader, error) {
	r := bufio.NewReader(f)
	begin, err := r.Peek(len(sealed))
	if err != nil || !bytes.Equal(begin, []byte(sealed)) {
		return r, nil // what it is otherwise, gzip says
	}
	if len(open) == 0 {
		return nil, errors.New("it is encrypted: give --identity-file or --passphrase-file")
	}
	plain, err := age.Decrypt(r, open...)
	if err != nil {
		return nil, fmt.Errorf("it cannot be decrypted: %w", err)
	}
	return plain, nil
}

// extract writes one file, if it is one that a backup may have.
func extract(root *os.Root, h *tar.Header, r io.Reader) (f File, err error) {
	top, _, below := strings.Cut(h.Name, "/")
	known := h.Name == Database || h.Name == Keys || below && (top == authority || top == packages)
	if !known || h.Typeflag != tar.TypeReg || path.Clean(h.Name) != h.Name || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
		return f, fmt.Errorf("%.100q is nothing that a backup has", h.Name)
	}
	name := filepath.FromSlash(h.Name)
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return f, err
	}
	to, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownersFile)
	if err != nil {
		return f, err
	}
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, digest), r)
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return f, fmt.Errorf("%s: %w", h.Name, err)
	}
	return File{Name: h.Name, Size: n, SHA256: fmt.Sprintf("%x", digest.Sum(nil))}, nil
}

// matches compares what was found with what the manifest says.
func (m Manifest) matches(found []File) error {
	if m.Format != format {
		return fmt.Errorf("it has format %d and this program reads %d: restore it with the release that made it (%q)", m.Format, format, m.Version)
	}
	if len(found) != len(m.Files) {
		return fmt.Errorf("it has %d files and its manifest names %d", len(found), len(m.Files))
	}
	for n, f := range found {
		if f != m.Files[n] {
			return fmt.Errorf("%s is not as its manifest says", f.Name)
		}
	}
	key := authority + "/ca.key"
	if m.Has(authority + "/rotation.json") { // which names the keys of a CA that was rotated
		key = authority + "/rotation.json"
	}
	for _, needed := range []string{Database, authority + "/ca.crt", key} {
		if !m.Has(needed) {
			return fmt.Errorf("it has no %s", needed)
		}
	}
	return nil
}
