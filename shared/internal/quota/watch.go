package quota

import (
	"cmp"
	"sync"
	"time"
)

// Spec says what is counted, and how much of it is allowed.
type Spec struct {
	Temp string // a directory of which all counts; may be empty
	Home string // a directory of which only the growth since Start counts; may be empty
	Max  Use    // zero is no limit

	// Processes lists who may hold files open that are removed already, and count.
	// It is called from the watch's goroutine; nil is nobody.
	Processes func() []int
	// OwnMemory says that the processes have file systems in memory (tmpfs) to
	// themselves, which are held otherwise: files there do not count.
	OwnMemory bool
	// Patient does without notifications: what may be stored is so much that a tenth of
	// a second more does not matter.
	Patient bool
}

// Use is what is stored.
type Use struct {
	Bytes int64 // as the file system allocates them
	Files int64 // directories and everything else that takes an inode
}

func (u Use) plus(v Use) Use  { return Use{u.Bytes + v.Bytes, u.Files + v.Files} }
func (u Use) minus(v Use) Use { return Use{max(u.Bytes-v.Bytes, 0), max(u.Files-v.Files, 0)} }
func (u Use) most(v Use) Use  { return Use{max(u.Bytes, v.Bytes), max(u.Files, v.Files)} }

// Over reports whether u is more than max allows.
func (u Use) Over(max Use) bool {
	return max.Bytes > 0 && u.Bytes > max.Bytes || max.Files > 0 && u.Files > max.Files
}

// Watch counts until it is closed or the limit is exceeded. Methods may be called
// concurrently.
type Watch struct {
	spec Spec
	over chan struct{} // closed when the limit is exceeded
	stop chan struct{} // closed by Close
	done chan struct{} // closed when run returned; then peak is final
	once sync.Once
	ear  ear
	was  space // of the file system at the start
	home Use   // what was in Home at the start
	peak Use
}

// Start begins to watch. It does not wait for the first count.
func Start(s Spec) *Watch {
	w := &Watch{
		spec: s,
		over: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
		ear: newEar(),
	}
	go w.run()
	return w
}

// Over is closed when more is stored than allowed. Nothing is counted after that.
func (w *Watch) Over() <-chan struct{} { return w.over }

// Close looks for the last time and tells the most that was seen.
func (w *Watch) Close() Use {
	w.once.Do(func() { close(w.stop) })
	<-w.done
	return w.peak
}

// The pace. Between two looks a plugin can store what its disk's cache takes in that
// time; the pauses are so long that this is about what it may still store.
const (
	fastBytes = 4 << 30 // bytes a second: more than page caches of 2024's servers take from two processors
	fastFiles = 500_000 // files a second: twice what ext4 and tmpfs make on two processors

	minPause = time.Millisecond
	maxPause = 50 * time.Millisecond
	// idlePause is for what no notification comes of: writing by a memory mapping,
	// and systems that have no notifications.
	idlePause = 100 * time.Millisecond
	// Pauses are at least so many times as long as a look took, for directories of
	// thousands of files: idleShare always, busyShare when the limit may be near.
	idleShare = 100
	busyShare = 2
)

// run is the life of a watch.
func (w *Watch) run() {
	defer close(w.done)
	defer w.ear.close()
	w.begin()
	last, listen := Use{-1, -1}, (*ear)(nil) // most plugins end before it is worth it
	for going := w.sleep(w.pace(Use{}), nil); going; {
		began := time.Now()
		was := w.space()
		use, over := w.look(listen)
		took := time.Since(began)
		w.peak = w.peak.most(use)
		if over {
			close(w.over)
			return
		}
		due := began.Add(max(idlePause, idleShare*took))
		going = w.sleep(busyShare*took, nil)
		if going && use == last {
			going = w.sleep(time.Until(due), w.ear.heard())
		}
		going = going && w.glance(use, was, due)
		last = use
		if !w.spec.Patient {
			listen = &w.ear
		}
	}
	use, _ := w.look(nil)
	w.peak = w.peak.most(use)
}

// glance waits until the next look is due, or may find the limit exceeded: when the
// file system lost so much since the look that found use, by whomever. That takes a
// microsecond, a look through thousands of files a few thousand.
func (w *Watch) glance(use Use, was space, due time.Time) bool {
	for {
		now := w.space()
		exact := was.exact && now.exact
		most := use
		if exact {
			most = use.plus(was.free.minus(now.free))
		}
		if most.Over(w.spec.Max) || time.Now().After(due) {
			return true
		}
		if !w.sleep(min(w.pace(most), time.Until(due)), nil) {
			return false
		}
		if !exact {
			return true
		}
	}
}

// pace is how long it takes at least to store what there is room for.
func (w *Watch) pace(use Use) time.Duration {
	pause := maxPause
	room := w.spec.Max.minus(use)
	if w.spec.Max.Bytes > 0 {
		pause = min(pause, time.Duration(float64(room.Bytes)/fastBytes*float64(time.Second)))
	}
	if w.spec.Max.Files > 0 {
		pause = min(pause, time.Duration(float64(room.Files)/fastFiles*float64(time.Second)))
	}
	return max(pause, minPause)
}

// sleep waits, or until it hears something, and reports whether to go on.
func (w *Watch) sleep(d time.Duration, heard <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.stop:
		return false
	case <-heard:
	case <-timer.C:
	}
	return true
}

// begin notes what there was.
func (w *Watch) begin() {
	w.was = w.space()
	if w.spec.Home != "" {
		c := &count{max: Use{Files: maxHome}, seen: map[inode]bool{}}
		c.walk(w.spec.Home)
		w.home = c.use
	}
}

// look counts once. The ear hears of later changes; nil is none.
func (w *Watch) look(e *ear) (use Use, over bool) {
	c := &count{ear: e, seen: map[inode]bool{}}
	if w.spec.Home != "" {
		c.max = Use{Files: maxHome}
		c.walk(w.spec.Home)
		if c.enough() {
			return c.use, true
		}
		c.use = c.use.minus(w.home)
	}
	c.max = w.spec.Max
	if w.spec.Temp != "" {
		c.walk(w.spec.Temp)
	}
	if w.spec.Processes != nil {
		c.removed(w.spec.Processes(), w.spec.OwnMemory)
	}
	return c.use, c.enough() || c.blind && w.shrunk()
}

// shrunk reports whether the file system lost more than all that is allowed. It
// counts where a process hides what it stores; others may have stored it, but no
// process that has nothing to hide gets here.
func (w *Watch) shrunk() bool {
	lost := w.was.free.minus(w.space().free)
	return w.was.known && lost.Over(w.spec.Max)
}

// space is what is left on a file system.
type space struct {
	free  Use
	known bool
	exact bool // what is promised to files that are not written yet is taken off at once
}

// space asks the file system that the directories are on.
func (w *Watch) space() space { return spaceOf(cmp.Or(w.spec.Temp, w.spec.Home)) }

// maxHome is how many files a home may hold at all: every look goes through them.
const maxHome = 100_000

// count is one look. Walking stops when more was found than is allowed.
type count struct {
	use   Use
	max   Use            // zero is no limit
	ear   *ear           // may be nil
	seen  map[inode]bool // files that more than one name or descriptor leads to
	blind bool           // something could not be counted
	deep  bool           // directories are nested deeper than anybody needs
}

type inode struct{ dev, ino uint64 }

// enough reports whether counting on is of no use.
func (c *count) enough() bool { return c.deep || c.use.Over(c.max) }

// maxDepth bounds the descriptors that a walk holds, and that removing the
// directories takes. The deepest trees that tools make have about 30 levels.
const maxDepth = 100
