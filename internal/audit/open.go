package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/limits"
)

const (
	fileMode   = 0o600
	headSuffix = ".head"
	headFormat = "%020d %s\n"
	headLength = 20 + 1 + hashLength + 1
)

// ready makes sure that the file is open and as it was left. It returns the records
// that tell what was not.
func (l *Log) ready() ([]entry, error) {
	if l.file != nil {
		same, err := l.undisturbed()
		if err != nil || same {
			return nil, err
		}
		if err := l.shut(); err != nil {
			return nil, err
		}
	}
	return l.open()
}

// undisturbed reports whether the open file still stands at its path and has the length
// in which we left it.
func (l *Log) undisturbed() (bool, error) {
	there, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(there, open) && open.Size() == l.size, nil
}

func (l *Log) open() ([]entry, error) {
	if err := l.openMarker(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(l.path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: move it away", l.path)
	}
	var err error
	if l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return nil, err
	}
	if err := l.file.Chmod(fileMode); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if err := atomicfile.SyncDir(filepath.Dir(l.path)); err != nil {
		return nil, err
	}
	return l.continueFile()
}

// openMarker opens FILE.head and takes what it says, where this process knows no better.
func (l *Log) openMarker() (err error) {
	if l.marker, err = os.OpenFile(l.path+headSuffix, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return err
	}
	if l.known {
		return nil
	}
	l.head = zero
	if head, err := readHead(l.path); err == nil {
		l.head, l.known = head, true
	}
	return nil
}

// readHead is what FILE.head of path says.
func readHead(path string) (Head, error) {
	var h Head
	text, err := limits.ReadFile(path+headSuffix, headLength)
	if err != nil {
		return h, err
	}
	if _, err := fmt.Sscanf(string(text), "%d %s\n", &h.Seq, &h.Hash); err != nil || len(h.Hash) != hashLength {
		return h, fmt.Errorf("%s%s does not name a record", path, headSuffix)
	}
	return h, nil
}

// mark writes FILE.head. It is not flushed: after a loss of power it names an earlier
// record, which costs no more than that the end is not held against it.
func (l *Log) mark() error {
	_, err := l.marker.WriteAt(fmt.Appendf(nil, headFormat, l.head.Seq, l.head.Hash), 0)
	if err != nil || failpoint.Hit("audit.marked") != nil {
		return l.shut() // the record is durable
	}
	return nil
}

// continueFile finds out where to go on, and what has to be said first.
func (l *Log) continueFile() ([]entry, error) {
	info, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	l.size = info.Size()
	if l.size == 0 {
		return l.newFile(), nil
	}
	b, err := l.window()
	if err != nil {
		return nil, err
	}
	head, rest, found := l.soundEnd(b)
	switch {
	case found && !(l.wrote && bytes.IndexByte(rest, '\n') >= 0):
		l.head, l.known = head, true
		return nil, l.cutTorn(rest)
	case !l.known && bytes.IndexByte(b, '\n') < 0:
		return nil, l.cutTorn(b)
	}
	return l.damaged(b)
}

// newFile is what an empty file begins with.
func (l *Log) newFile() []entry {
	if !l.known {
		return nil
	}
	return []entry{l.entry(KindContinued, slog.Uint64("after", l.head.Seq))}
}

// window is the end of the file, with more than what is written at a time.
func (l *Log) window() ([]byte, error) {
	from := max(0, l.size-2*MaxLine)
	b := make([]byte, l.size-from)
	_, err := l.file.ReadAt(b, from)
	return b, err
}

// soundEnd goes from the record that FILE.head names, or a later one, on as far as the
// chain is whole. What is behind that was never confirmed: a loss of power leaves of a
// write any of its sectors, so that whole lines may stand behind a damaged one.
func (l *Log) soundEnd(b []byte) (head Head, rest []byte, found bool) {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return head, b, found
		}
		r, wrong := parse(b[:i])
		switch {
		case !found:
			found = wrong == nil && (!l.known || r.Seq > l.head.Seq || r.Seq == l.head.Seq && r.Hash == l.head.Hash)
		case wrong != nil || r.Seq != head.Seq+1 || r.Prev != head.Hash:
			return head, b, true
		}
		if found {
			head = Head{r.Seq, r.Hash}
		}
		b = b[i+1:]
	}
}

// cutTorn removes what a write left that was never confirmed.
func (l *Log) cutTorn(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	l.size -= int64(len(rest))
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.cut = append(l.cut, l.entry(KindRepaired,
		slog.Int("bytes", len(rest)), slog.String("sha256", hashOf(rest)), slog.String("text", string(rest[:min(len(rest), 512)]))))
	return nil
}

// damaged keeps everything as it is found and goes on behind it, in the chain that
// FILE.head names. b is the end of the file.
func (l *Log) damaged(b []byte) ([]entry, error) {
	lines, rest := b[:bytes.LastIndexByte(b, '\n')+1], b[bytes.LastIndexByte(b, '\n')+1:]
	lines = bytes.TrimSuffix(lines, []byte("\n"))
	last, wrong := parse(lines[bytes.LastIndexByte(lines, '\n')+1:])
	found := "the last line " + fmt.Sprint(wrong)
	if wrong == nil {
		found = fmt.Sprintf("the file ends with record %d", last.Seq)
	}
	if n := len(rest); n > 0 {
		found += fmt.Sprintf(" and %d more bytes", n)
		if _, err := l.file.WriteAt([]byte("\n"), l.size); err != nil {
			return nil, err
		}
		l.size++
	}
	return []entry{l.entry(KindDamaged, slog.String("found", found), slog.Uint64("expected", l.head.Seq), slog.String("expected_hash", l.head.Hash))}, nil
}

func (l *Log) entry(kind Kind, attrs ...slog.Attr) entry {
	return entry{l.o.Now(), kind, encode(attrs, l.o.Redact)}
}
