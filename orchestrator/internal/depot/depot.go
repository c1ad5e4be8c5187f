package depot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	suffix   = ".tar.gz"
	incoming = "incoming-"
)

// Depot is a directory of package files.
type Depot struct{ dir string }

// Open opens the depot in dir, making it if it is not there, and removes what uploads of
// a process that is gone have left.
func Open(dir string) (*Depot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open package depot: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(escape(dir), incoming+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("open package depot %s: %w", dir, err)
	}
	return &Depot{dir}, nil
}

// escape lets a directory's name stand for itself in a pattern.
func escape(dir string) string {
	if filepath.Separator == '\\' {
		return dir // where there is no escape, and no such name either
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Incoming is an upload that has arrived whole and has no name yet. End it with Keep or
// Discard; Discard after Keep does nothing.
type Incoming struct {
	Digest string // "sha256:" and 64 hex digits
	Size   int64

	depot *Depot
	file  *os.File
}

// Receive writes r aside. More than most bytes are an error that wraps
// [limits.ErrTooLarge].
func (d *Depot) Receive(r io.Reader, most int64) (*Incoming, error) {
	f, err := os.CreateTemp(d.dir, incoming+"*")
	if err != nil {
		return nil, fmt.Errorf("receive package: %w", err)
	}
	in := &Incoming{depot: d, file: f}
	sum := sha256.New()
	in.Size, err = io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, most+1))
	if err == nil && in.Size > most {
		err = fmt.Errorf("%w: more than %d bytes", limits.ErrTooLarge, most)
	}
	if err == nil {
		err = errors.Join(failpoint.Hit("depot.written"), f.Sync(), failpoint.Hit("depot.synced"))
	}
	if err != nil {
		in.Discard()
		return nil, fmt.Errorf("receive package: %w", err)
	}
	in.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return in, nil
}

// ReadAt reads what was received, until Keep.
func (in *Incoming) ReadAt(b []byte, off int64) (int, error) { return in.file.ReadAt(b, off) }

// Keep gives the file its name, durably. A file that has it already stays, unless it was
// damaged.
func (in *Incoming) Keep() error {
	path, err := in.depot.path(in.Digest)
	if err != nil {
		return err
	}
	if there, err := holds(path, in.Digest); err != nil || there {
		in.Discard()
		return err
	}
	err = in.file.Close() // before the rename, which Windows refuses for open files
	if err == nil {
		err = failpoint.Hit("depot.keep.before")
	}
	if err == nil {
		err = os.Rename(in.file.Name(), path)
	}
	if err == nil {
		err = errors.Join(failpoint.Hit("depot.renamed"), atomicfile.SyncDir(in.depot.dir), failpoint.Hit("depot.kept"))
	}
	if err != nil {
		in.Discard()
		return fmt.Errorf("keep package: %w", err)
	}
	return nil
}

// holds reports whether the file at path has the content that its name promises.
func holds(path, digest string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false, err
	}
	return "sha256:"+hex.EncodeToString(sum.Sum(nil)) == digest, nil
}

// Discard removes what was received. It is of no effect after Keep.
func (in *Incoming) Discard() {
	in.file.Close()
	os.Remove(in.file.Name()) // what stays in spite of that goes at the next start
}

// File opens a package for reading. One that is not there is fs.ErrNotExist.
func (d *Depot) File(digest string) (*os.File, error) {
	path, err := d.path(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Remove removes a package. One that is not there is removed already.
func (d *Depot) Remove(digest string) error {
	path, err := d.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove package: %w", err)
	}
	return nil
}

// Sweep removes every file that wanted does not want: what a crash between a file and
// its record has left.
func (d *Depot) Sweep(wanted func(digest string) (bool, error)) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("sweep package depot: %w", err)
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		digest := "sha256:" + digits
		if !ok || api.ValidateDigest(digest) != nil {
			continue // not ours
		}
		want, err := wanted(digest)
		if err == nil && !want {
			err = d.Remove(digest)
		}
		if err != nil {
			return fmt.Errorf("sweep package depot: %w", err)
		}
	}
	return nil
}

func (d *Depot) path(digest string) (string, error) {
	if err := api.ValidateDigest(digest); err != nil {
		return "", err
	}
	return filepath.Join(d.dir, strings.TrimPrefix(digest, "sha256:")+suffix), nil
}
