package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/internal/failpoint"
)

// ErrBroken is wrapped by every error after an fsync that failed: the last records may
// or may not be on disk, and only a new process can find out.
var ErrBroken = errors.New("the audit log is broken, what was written last may not be on disk; restart to recover")

// Options of a log. The zero value is usable.
type Options struct {
	Now    func() time.Time    // nil: time.Now
	Redact func(string) string // takes secrets out of what is written; nil takes out nothing
	// Changed hears nil when records can be written and the reason when they cannot,
	// each time that turns. It must not call the log.
	Changed func(error)

	sync func(*os.File) error // tests put a failing one
}

// Log is an audit file that is written. See the package documentation. A nil Log takes
// every record and keeps none.
type Log struct {
	path string
	o    Options

	mu    sync.Mutex // guards the fields below; never held during I/O
	group *group     // which takes members, or nil
	held  []entry    // notes that could not be written, oldest first
	lost  int        // notes that there was no room to hold

	commit sync.Mutex // held while writing; guards the fields below
	file   *os.File   // nil: to be opened
	marker *os.File   // FILE.head
	size   int64      // of the file as we left it
	head   Head
	known  bool    // head is what was written or read, not merely where a chain begins
	wrote  bool    // and it was this process that wrote it: nothing of ours is behind it
	cut    []entry // tells of bytes that were cut off, until that is durable
	broken error   // once nothing can be written any more
	told   error   // what Changed heard last
}

// entry is a record that has no place in the chain yet.
type entry struct {
	at     time.Time
	kind   Kind
	fields []byte
}

// group is the records that are made durable with one fsync.
type group struct {
	entries []entry
	err     error
	done    chan struct{} // closed after err is set
}

// maxHeld bounds the notes that wait for a disk with room: some minutes of a busy agent.
const maxHeld = 1024

// Open makes the log of path. The file is opened, made and repaired with the first
// record, and again after each failure, so that there always is a log.
func Open(path string, o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	return &Log{path: path, o: o}
}

// Path is where the records go.
func (l *Log) Path() string { return l.path }

// Record writes a record and returns when it is durable. After an error nothing was
// recorded, unless it wraps ErrBroken. What it tells of must not happen then.
func (l *Log) Record(kind Kind, attrs ...slog.Attr) error { return l.Begin(kind, attrs...)() }

// Begin is Record in two steps: the record is on its way when Begin returns, and wait
// returns when it is durable, so that other work is done meanwhile. Wait has to be
// called. Records are chained in the order of Begin.
func (l *Log) Begin(kind Kind, attrs ...slog.Attr) (wait func() error) {
	if l == nil {
		return func() error { return nil }
	}
	g, leads := l.join(l.entry(kind, attrs...))
	if leads {
		go l.lead(g) // ends with the flush; who called waits for it
	}
	return func() error {
		<-g.done
		return g.err
	}
}

// Note records what has happened already and cannot be held back. While nothing can be
// written it is held in memory and written before all else once it can; what there is
// no room for is counted in a record.
func (l *Log) Note(kind Kind, attrs ...slog.Attr) { l.BeginNote(kind, attrs...)() }

// BeginNote is Note in two steps, as Begin is of Record.
func (l *Log) BeginNote(kind Kind, attrs ...slog.Attr) (wait func()) {
	if l == nil {
		return func() {}
	}
	e := l.entry(kind, attrs...)
	g, leads := l.join(e)
	if leads {
		go l.lead(g)
	}
	return func() {
		if <-g.done; g.err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.hold(e)
		}
	}
}

// hold keeps the notes that there is room for, and counts the others. It needs mu.
func (l *Log) hold(notes ...entry) {
	room := min(maxHeld-len(l.held), len(notes))
	l.held = append(l.held, notes[:room]...)
	l.lost += len(notes) - room
}

// Try writes what is held, and finds out whether anything can be written.
func (l *Log) Try() error {
	if l == nil {
		return nil
	}
	g, leads := l.join()
	if leads {
		l.lead(g)
	}
	<-g.done
	return g.err
}

// Head names the last durable record.
func (l *Log) Head() Head {
	if l == nil {
		return Head{}
	}
	l.commit.Lock()
	defer l.commit.Unlock()
	return l.head
}

// Close writes what is held and closes the file.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	err := l.Try()
	l.commit.Lock()
	defer l.commit.Unlock()
	return errors.Join(err, l.shut())
}

func (l *Log) join(entries ...entry) (g *group, leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group == nil {
		l.group, leads = &group{done: make(chan struct{})}, true
	}
	l.group.entries = append(l.group.entries, entries...)
	return l.group, leads
}

var errPanicked = fmt.Errorf("%w: a panic while it was written to", ErrBroken)

// lead waits for its turn, lets nobody join g any more, and writes it. After a panic on the way the
// log is broken, and nobody waits for what does not come.
func (l *Log) lead(g *group) {
	l.commit.Lock()
	defer l.commit.Unlock()
	g.err = errPanicked
	defer func() {
		if g.err == errPanicked {
			l.broken = errPanicked
		}
		close(g.done)
	}()
	l.mu.Lock()
	l.group = nil
	held, lost := l.held, l.lost
	l.held, l.lost = nil, 0
	l.mu.Unlock()
	before := held
	if lost > 0 {
		before = append(before[:len(before):len(before)], l.entry(KindDropped, slog.Int("records", lost)))
	}
	err := l.flush(append(before, g.entries...))
	if err != nil {
		err = fmt.Errorf("write the audit log %s: %w", l.path, err)
		l.mu.Lock()
		newer := l.held
		l.held, l.lost = held, l.lost+lost
		l.hold(newer...)
		l.mu.Unlock()
	}
	l.tell(err)
	g.err = err
}

func (l *Log) tell(err error) {
	if l.o.Changed != nil && (err == nil) != (l.told == nil) {
		l.o.Changed(err)
	}
	l.told = err
}

// flush writes records and makes them durable, all or none.
func (l *Log) flush(entries []entry) error {
	if l.broken != nil {
		return l.broken
	}
	found, err := l.ready()
	if err != nil {
		return errors.Join(err, l.shut())
	}
	var b []byte
	head := l.head
	for _, e := range slices.Concat(l.cut, found, entries) {
		b, head = appendLine(b, head, e.at, e.kind, e.fields)
	}
	if len(b) == 0 {
		return l.probe()
	}
	err = failpoint.Hit("audit.before")
	if err == nil {
		_, err = l.file.WriteAt(b, l.size)
	}
	if err != nil {
		// What a later start would have to cut off goes now; where it cannot, it does then.
		return errors.Join(err, l.file.Truncate(l.size), l.shut())
	}
	if err := errors.Join(failpoint.Hit("audit.written"), l.o.sync(l.file), failpoint.Hit("audit.synced")); err != nil {
		l.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		return errors.Join(l.broken, l.shut())
	}
	l.size += int64(len(b))
	l.head, l.known, l.wrote, l.cut = head, true, true, nil
	return l.mark()
}

// probe finds out whether there is room for a record, without leaving one.
func (l *Log) probe() error {
	_, err := l.file.WriteAt(make([]byte, 4<<10), l.size)
	if undo := l.file.Truncate(l.size); err != nil || undo != nil {
		return errors.Join(err, undo, l.shut())
	}
	return nil
}

// shut closes the files; the next record opens them again.
func (l *Log) shut() (err error) {
	for _, f := range []**os.File{&l.file, &l.marker} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	return err
}

// Ready is nil where the last record could be written, and otherwise finds out whether
// one can be now.
func (l *Log) Ready() error {
	if l == nil {
		return nil
	}
	l.commit.Lock()
	told := l.told
	l.commit.Unlock()
	if told == nil {
		return nil
	}
	return l.Try()
}
