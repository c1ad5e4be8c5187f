package backup

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
)

// Names in a backup, which are those in a data directory.
const (
	Database   = "stavily.db"
	Keys       = "secrets.key"
	authority  = "ca"
	packages   = "packages"
	manifest   = "manifest.json"
	part       = ".part"
	ownersFile = 0o600
)

// format is what this program writes and reads.
const format = 1

// Manifest says what a backup is and has.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program that made it
	MadeAt  time.Time `json:"made_at"`
	Files   []File    `json:"files"`
}

// File is one in a backup.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Has reports whether a file is in the backup.
func (m Manifest) Has(name string) bool {
	for _, f := range m.Files {
		if f.Name == name {
			return true
		}
	}
	return false
}

// Source is what a backup is made of.
type Source struct {
	DataDir   string
	SharedDir string          // of the authority, the packages and the keys; empty: DataDir
	Seal      []age.Recipient // who can open it; none: everybody, and it has no keys of secrets
}

// Write makes a backup with a name that nothing has yet.
func Write(ctx context.Context, s Source, path string) (m Manifest, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return m, errors.Join(err, fmt.Errorf("%s is there already: name another file, nothing is overwritten", path))
	}
	database := filepath.Join(s.DataDir, "backup.db"+part)
	if err := os.Remove(database); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	defer func() { err = errors.Join(err, os.Remove(database)) }()
	m = Manifest{Format: format, Version: api.Version, MadeAt: time.Now().UTC()}
	if err := sqlite.Copy(ctx, filepath.Join(s.DataDir, Database), database); err != nil {
		return m, err
	}
	f, err := os.OpenFile(path+part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, ownersFile)
	if err != nil {
		return m, err
	}
	if err = errors.Join(s.fill(ctx, f, database, &m), f.Sync(), f.Close()); err != nil {
		return m, errors.Join(err, os.Remove(path+part))
	}
	if err := os.Link(path+part, path); err != nil { // unlike Rename, it replaces nothing
		return m, errors.Join(err, os.Remove(path+part))
	}
	return m, errors.Join(os.Remove(path+part), atomicfile.SyncDir(filepath.Dir(path)))
}

// fill writes the layers of a backup, one in the other.
func (s Source) fill(ctx context.Context, f io.Writer, database string, m *Manifest) error {
	layers := []io.Closer{}
	if len(s.Seal) > 0 {
		sealed, err := age.Encrypt(f, s.Seal...)
		if err != nil {
			return fmt.Errorf("encrypt: %w", err)
		}
		f, layers = sealed, append(layers, sealed)
	}
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(zip)
	layers = append(layers, zip, w)
	err = s.files(ctx, w, database, m)
	for n := len(layers) - 1; n >= 0 && err == nil; n-- {
		err = layers[n].Close()
	}
	return err
}

// files adds everything, and the manifest last.
func (s Source) files(ctx context.Context, w *tar.Writer, database string, m *Manifest) error {
	if err := add(w, database, Database, m); err != nil {
		return err
	}
	dir := cmp.Or(s.SharedDir, s.DataDir)
	for _, top := range []string{authority, packages} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return add(w, path, filepath.ToSlash(name), m)
		})
		if err != nil {
			return err
		}
	}
	if len(s.Seal) > 0 {
		err := add(w, filepath.Join(dir, Keys), Keys, m)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // they may be elsewhere
			return err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: manifest, Mode: ownersFile, Size: int64(len(text)), ModTime: m.MadeAt}); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// add adds a file with its digest.
func add(w *tar.Writer, path, name string, m *Manifest) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: ownersFile, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, digest), f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.Files = append(m.Files, File{Name: name, Size: info.Size(), SHA256: fmt.Sprintf("%x", digest.Sum(nil))})
	return nil
}
