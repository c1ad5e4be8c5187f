package retention

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// archive reads what is old, page by page, and writes it into one file. It returns the pages
// without their lines once the file is durable, and its path below the archive's directory.
// Without an archive they are only read.
func (s *Sweeper) archive(ctx context.Context, org api.OrgID, k kind, before time.Time) (all []batch, name string, err error) {
	w := &file{directory: s.o.Archive, org: org, kind: k.name}
	defer func() { err = errors.Join(err, w.discard()) }()
	for records, after := 0, ""; records < s.file && ctx.Err() == nil; {
		var b batch
		err := s.engine.View(ctx, org, func(r store.Reader) (err error) {
			b, err = k.old(r, before, after, s.page)
			return err
		})
		if err != nil {
			return nil, "", err
		}
		if b.records == 0 {
			break
		}
		if err := w.write(b); err != nil {
			return nil, "", fmt.Errorf("archive: %w", err)
		}
		records, after = records+b.records, cmp.Or(b.next, b.last)
		b.lines = nil
		all = append(all, b)
	}
	if len(all) == 0 {
		return nil, "", ctx.Err()
	}
	name, err = w.finish(all[0].first, all[len(all)-1].last)
	if err != nil {
		return nil, "", fmt.Errorf("archive: %w", err)
	}
	return all, name, nil
}

// file is one file of the archive while it is written; without a directory it is none.
type file struct {
	directory string
	org       api.OrgID
	kind      string

	f   *os.File // nil: not begun
	zip *gzip.Writer
}

func (w *file) write(b batch) error {
	if w.directory == "" {
		return nil
	}
	if w.f == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	e := json.NewEncoder(w.zip)
	e.SetEscapeHTML(false)
	for _, line := range b.lines {
		if err := e.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the file, in the place of one that a killed server did not finish.
func (w *file) begin() error {
	if err := os.MkdirAll(w.place(), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(w.place(), w.kind+".part"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w.f, w.zip = f, gzip.NewWriter(f)
	return nil
}

func (w *file) place() string { return filepath.Join(w.directory, string(w.org)) }

// finish makes the file durable under its name.
func (w *file) finish(first, last string) (name string, err error) {
	if w.f == nil {
		return "", nil
	}
	name = filepath.Join(string(w.org), fmt.Sprintf("%s-%s-%s.ndjson.gz", w.kind, first, last))
	part := w.f.Name()
	err = errors.Join(w.zip.Close(), w.f.Sync(), w.f.Close())
	w.f = nil
	if err == nil {
		err = os.Rename(part, filepath.Join(w.directory, name))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(part))
	}
	return name, errors.Join(atomicfile.SyncDir(w.place()), atomicfile.SyncDir(w.directory))
}

// discard removes a file that was not finished.
func (w *file) discard() error {
	if w.f == nil {
		return nil
	}
	part := w.f.Name()
	err := errors.Join(w.f.Close(), os.Remove(part))
	w.f = nil
	return err
}
