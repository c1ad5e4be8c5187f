package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// Finding is one place where files are not as they were written.
type Finding struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1; 0 is the end of the file
	Seq  uint64 `json:"seq"`  // of the record in that line, 0 where there is none
	What string `json:"what"`
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
}

// Report is what Verify found.
type Report struct {
	Records  int       `json:"records"`
	First    uint64    `json:"first"`    // number of the first record; above 1 it continues an earlier file
	Last     Head      `json:"last"`     // the newest record
	Findings []Finding `json:"findings"` // at most maxFindings
}

// maxFindings bounds what a file of garbage costs.
const maxFindings = 100

// Verify reads files that continue each other, oldest first, and finds what was edited,
// removed, moved or cut off. The end is checked against the FILE.head of the last one,
// where there is one, and against expected, where that is not nil: a record that was
// noted elsewhere, which must be among those read. The error says that a file cannot be
// read.
func Verify(paths []string, expected *Head) (Report, error) {
	v := verifier{expected: expected, looks: settleLooks, report: Report{Findings: []Finding{}}}
	return v.files(paths)
}

func (v *verifier) files(paths []string) (Report, error) {
	if len(paths) == 0 {
		return v.report, nil
	}
	last := paths[len(paths)-1]
	head, err := readHead(last) // before the file: an agent may be writing both
	for _, path := range paths {
		if err := v.file(path); err != nil {
			return v.report, fmt.Errorf("verify %s: %w", path, err)
		}
	}
	v.end(last, head, err)
	return v.report, nil
}

type verifier struct {
	report   Report
	expected *Head
	looks    int  // at a file whose last line does not end
	met      bool // expected was read
	path     string
	line     int
	after    Head // what the next record has to follow
	begun    bool
	blind    bool // the line before was no record: how the next one follows cannot be told
}

func (v *verifier) find(line int, seq uint64, format string, args ...any) {
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{v.path, line, seq, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) file(path string) error {
	v.path, v.line = path, 0
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	size, whole, err := settled(f, v.looks)
	if err != nil {
		return err
	}
	lines := limits.NewLineReader(io.LimitReader(f, size), MaxLine+1)
	for {
		line, cut, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		v.line++
		v.check(line, cut)
	}
	if !whole {
		v.find(v.line, 0, "the line does not end: the file was cut off within it")
	}
	return nil
}

// A record that is being written becomes visible in pieces, which is over within moments.
const (
	settleLooks = 5
	settlePause = time.Millisecond
)

// settled is how long f is and whether it ends with a whole line. One that does not is looked
// at again, since an agent may be writing to it.
func settled(f *os.File, looks int) (size int64, whole bool, err error) {
	for look := range looks {
		if look > 0 {
			time.Sleep(settlePause)
		}
		info, err := f.Stat()
		if err != nil {
			return 0, false, err
		}
		if size = info.Size(); size == 0 {
			return 0, true, nil
		}
		last := []byte{0}
		if _, err := f.ReadAt(last, size-1); err != nil {
			return 0, false, err
		}
		if last[0] == '\n' {
			return size, true, nil
		}
	}
	return size, false, nil
}

func (v *verifier) check(line []byte, cut bool) {
	r, err := parse(line)
	switch {
	case cut || errors.Is(err, errNoRecord):
		v.find(v.line, 0, "the line is no record: it was damaged, cut short or put there by somebody else")
		v.blind = true
		return
	case err != nil:
		v.find(v.line, r.Seq, "record %d was edited: its content does not have its hash", r.Seq)
	}
	v.report.Records++
	if !v.begun {
		v.begin(r)
	}
	v.follows(r)
	if v.expected != nil && r.Seq == v.expected.Seq {
		v.met = true
		if r.Hash != v.expected.Hash {
			v.find(v.line, r.Seq, "record %d has another hash than the one that was noted", r.Seq)
		}
	}
	v.blind = false
	if r.Seq > v.after.Seq {
		v.after = Head{r.Seq, r.Hash}
	}
	v.report.Last = v.after
}

// begin takes the first record for granted: one above 1 follows a file that is not here.
func (v *verifier) begin(r Record) {
	v.begun, v.report.First = true, r.Seq
	if v.after = zero; r.Seq > 1 {
		v.after = Head{r.Seq - 1, r.Prev}
	}
}

// follows checks the place of a record.
func (v *verifier) follows(r Record) {
	switch want := v.after.Seq + 1; {
	case r.Seq < want:
		v.find(v.line, r.Seq, "record %d stands behind record %d: it was moved or repeated", r.Seq, v.after.Seq)
	case r.Seq == want+1:
		v.find(v.line, r.Seq, "record %d is not where it was, before record %d: it was removed, moved or edited", want, r.Seq)
	case r.Seq > want:
		v.find(v.line, r.Seq, "records %d to %d are not where they were, before record %d: they were removed, moved or edited", want, r.Seq-1, r.Seq)
	case r.Prev != v.after.Hash && !v.blind:
		v.find(v.line, r.Seq, "record %d does not follow the record before it: that one was replaced", r.Seq)
	}
}

// end checks what only notes beside the chain can tell.
func (v *verifier) end(path string, head Head, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		v.find(0, 0, "%v: whether records were removed from the end cannot be told", err)
	case head.Seq > v.after.Seq:
		v.find(0, 0, "records %d to %d were removed from the end: %s names the last", v.after.Seq+1, head.Seq, path+headSuffix)
	case head.Seq == v.after.Seq && head.Hash != v.after.Hash:
		v.find(v.line, head.Seq, "record %d is not the one that %s names: it was replaced", head.Seq, path+headSuffix)
	}
	if v.expected != nil && !v.met {
		v.find(0, 0, "record %d, which was noted, is not here", v.expected.Seq)
	}
}

// Read calls visit for every record of a file that can be read as one, whether or not
// the chain holds, until visit returns false.
func Read(path string, visit func(Record) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	lines := limits.NewLineReader(f, MaxLine+1)
	for {
		line, _, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the audit log %s: %w", path, err)
		}
		if r, err := parse(line); err == nil && !visit(r) {
			return nil
		}
	}
}
