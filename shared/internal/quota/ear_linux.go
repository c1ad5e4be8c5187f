package quota

import (
	"os"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ear hears when something is stored in directories that were walked, so that a
// watch need not look again and again at what does not change. All ears share one
// inotify instance: a user has 128 of them (fs.inotify.max_user_instances), and
// plugins can be more.
type ear struct {
	rings chan struct{} // holds a token when something was heard
	dirs  map[int32]bool
}

func newEar() ear { return ear{rings: make(chan struct{}, 1), dirs: map[int32]bool{}} }

func (e *ear) heard() <-chan struct{} { return e.rings }

// maxDirs bounds what one plugin takes of the user's watches. Changes in further
// directories are seen at the next look.
const maxDirs = 128

// what is listened for. Writing to a file is told also when it has no name any more.
const sounds = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ONLYDIR

// listen adds an open directory. Without notifications the watch is only slower.
func (e *ear) listen(fd int) { hall.add(e, fd) }

func (e *ear) ring() {
	select {
	case e.rings <- struct{}{}:
	default:
	}
}

func (e *ear) close() { hall.remove(e) }

// hall is the inotify instance. It exists while there is an ear in it.
var hall = &instance{}

type instance struct {
	mu   sync.Mutex              // guards the fields below, and the dirs of every ear
	file *os.File                // nil while there is no ear
	fd   int                     // of file
	ears map[int32]map[*ear]bool // by watch descriptor; processes of a plugin share a home
}

func (n *instance) add(e *ear, dir int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(e.dirs) >= maxDirs || n.file == nil && !n.open() {
		return
	}
	wd, err := unix.InotifyAddWatch(n.fd, "/proc/self/fd/"+strconv.Itoa(dir), sounds)
	if err != nil {
		return
	}
	id := int32(wd)
	if n.ears[id] == nil {
		n.ears[id] = map[*ear]bool{}
	}
	n.ears[id][e] = true
	e.dirs[id] = true
}

func (n *instance) open() bool {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return false
	}
	n.file, n.fd = os.NewFile(uintptr(fd), "inotify"), fd
	n.ears = map[int32]map[*ear]bool{}
	go n.listen(n.file)
	return true
}

// remove takes an ear out; with the last one the instance ends.
func (n *instance) remove(e *ear) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return
	}
	for wd := range e.dirs {
		delete(n.ears[wd], e)
		if len(n.ears[wd]) == 0 {
			delete(n.ears, wd)
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd)) // gone with its directory, mostly
		}
	}
	clear(e.dirs)
	if len(n.ears) == 0 {
		_ = n.file.SetReadDeadline(time.Unix(1, 0)) // it closes itself: the kernel takes 7 ms for that
		n.file = nil
	}
}

// listenPause is between two readings: a plugin that writes byte by byte fills the
// kernel's queue, where what does not fit is dropped, and not the agent's time.
const listenPause = time.Millisecond

// listen rings until it is told to end.
func (n *instance) listen(f *os.File) {
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		size, err := f.Read(buf)
		if err != nil {
			return
		}
		n.dispatch(buf[:size])
		time.Sleep(listenPause)
	}
}

// dispatch rings for every event (inotify(7)).
func (n *instance) dispatch(events []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		events = events[min(unix.SizeofInotifyEvent+int(event.Len), len(events)):]
		switch {
		case event.Mask&unix.IN_Q_OVERFLOW != 0:
			for _, ears := range n.ears {
				ringAll(ears)
			}
		case event.Mask&unix.IN_IGNORED != 0: // the directory is gone
			for e := range n.ears[event.Wd] {
				delete(e.dirs, event.Wd)
			}
			delete(n.ears, event.Wd)
		default:
			ringAll(n.ears[event.Wd])
		}
	}
}

func ringAll(ears map[*ear]bool) {
	for e := range ears {
		e.ring()
	}
}
