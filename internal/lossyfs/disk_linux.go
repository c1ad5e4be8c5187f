package lossyfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// sector is what a drive writes whole or not at all.
const sector = 512

// Disk is what outlives power cuts. It may be used concurrently.
type Disk struct {
	mu     sync.Mutex // guards everything below, entries too
	chance *rand.Rand
	root   *entry
	ids    uint64
	off    bool // the power is cut until the next mount

	failing Call
	until   int // the so many-th call fails; 0: none, or it has
}

// entry is a file or a directory.
type entry struct {
	id   uint64
	mode uint32 // with the kind of file

	seen    []byte // of a file: what programs read
	kept    []byte // and what the disk has
	changes []change

	names     map[string]*entry // of a directory, nil for a file
	keptNames map[string]*entry
}

// change is a write that was not flushed, or, without bytes, a new size.
type change struct {
	at   int64
	data []byte
}

// New makes an empty disk. What is lost at its cuts depends on the seed alone, for the
// same writes.
func New(seed uint64) *Disk {
	d := &Disk{chance: rand.New(rand.NewPCG(seed, 0))}
	d.root = d.entry(syscall.S_IFDIR | 0o700)
	return d
}

func (d *Disk) entry(mode uint32) *entry {
	d.ids++
	e := &entry{id: d.ids, mode: mode}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		e.names, e.keptNames = map[string]*entry{}, map[string]*entry{}
	}
	return e
}

// Call is what can be made to fail.
type Call int

// The calls that stores make durable with.
const (
	OnWrite Call = iota
	OnFsync
)

// Fail lets the k-th call from now on fail with EIO, once. What an fsync was for is lost then,
// and the next one of the same file does not bring it back: so does Linux, which takes pages
// that it could not write for clean.
func (d *Disk) Fail(what Call, k int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing, d.until = what, k
}

// Failed reports whether the call that is to fail has come.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.until <= 0
}

func (d *Disk) fails(what Call) bool {
	if d.failing != what || d.until <= 0 {
		return false
	}
	d.until--
	return d.until == 0
}

// Cut ends the power: every later call of a program fails, and what is seen after the next
// mount is what was kept.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	d.root.forget(d.chance, map[*entry]bool{})
}

func (e *entry) forget(chance *rand.Rand, done map[*entry]bool) {
	if done[e] {
		return
	}
	done[e] = true
	for _, c := range e.changes {
		e.kept = c.partly(e.kept, chance)
	}
	e.changes = nil
	e.seen = slices.Clone(e.kept)
	e.names = maps.Clone(e.keptNames)
	for _, name := range slices.Sorted(maps.Keys(e.names)) {
		e.names[name].forget(chance, done)
	}
}

// partly applies each sector of a change, or does not.
func (c change) partly(file []byte, chance *rand.Rand) []byte {
	if c.data == nil {
		if chance.IntN(2) == 0 {
			return resize(file, c.at)
		}
		return file
	}
	for from := int64(0); from < int64(len(c.data)); {
		piece := min(sector-(c.at+from)%sector, int64(len(c.data))-from)
		if chance.IntN(2) == 0 {
			file = write(file, c.at+from, c.data[from:from+piece])
		}
		from += piece
	}
	return file
}

func write(file []byte, at int64, data []byte) []byte {
	if end := at + int64(len(data)); end > int64(len(file)) {
		file = resize(file, end)
	}
	copy(file[at:], data)
	return file
}

func resize(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	return append(file, make([]byte, size-int64(len(file)))...)
}

func (e *entry) write(at int64, data []byte) {
	e.changes = append(e.changes, change{at, slices.Clone(data)})
	e.seen = write(e.seen, at, data)
}

func (e *entry) resize(size int64) {
	e.changes = append(e.changes, change{at: size})
	e.seen = resize(e.seen, size)
}

// flush makes what is seen what is kept: of a file its bytes, of a directory its names.
func (e *entry) flush() {
	e.keptNames = maps.Clone(e.names)
	for _, c := range e.changes {
		if c.data == nil {
			e.kept = resize(e.kept, c.at)
		} else {
			e.kept = write(e.kept, c.at, c.data)
		}
	}
	e.changes = nil
}
