package memo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	maxKey   = 256      // bytes
	maxValue = 64 << 10 // as JSON
	// maxAll leaves room for the rest of the line that carries all values at once, which
	// has at most 1 MiB.
	maxAll = 1<<20 - 1<<10
	// maxFile is for a file that people have edited: indented, it is larger.
	maxFile = 4 << 20
)

// ErrRefused is wrapped by errors about what the plugin asked for.
var ErrRefused = errors.New("not kept")

// Memos are those of one agent. Safe for concurrent use.
type Memos struct {
	dir string

	mu    sync.Mutex // guards locks
	locks map[string]*sync.Mutex
}

// In uses a directory, which is made when the first value is kept.
func In(dir string) *Memos { return &Memos{dir: dir, locks: map[string]*sync.Mutex{}} }

// Memo is what one owner remembers.
type Memo struct {
	path  string
	lock  *sync.Mutex // one for all Memos of a path
	draft bool        // changes are checked and dropped
}

// Of gives the memo of a plugin's monitor or, for an action or output, of the plugin, whose
// name is its id.
func (m *Memos) Of(plugin api.PluginID, name string) *Memo {
	path := filepath.Join(m.dir, string(plugin), name+".json")
	m.mu.Lock()
	defer m.mu.Unlock()
	lock, found := m.locks[path]
	if !found {
		lock = &sync.Mutex{}
		m.locks[path] = lock
	}
	return &Memo{path: path, lock: lock}
}

// Draft is the same memo for a process that is only tried out: it finds what is there, and
// what it keeps is not kept.
func (m *Memo) Draft() *Memo { return &Memo{path: m.path, lock: m.lock, draft: true} }

// All gives every value; an owner that has kept none has an empty map.
func (m *Memo) All() (map[string]json.RawMessage, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.load()
}

// Set keeps a value, which is JSON, in place of the one before.
func (m *Memo) Set(key string, value json.RawMessage) error {
	switch {
	case key == "" || len(key) > maxKey || !utf8.ValidString(key):
		return fmt.Errorf("%w: a key is text of 1 to %d bytes", ErrRefused, maxKey)
	case len(value) > maxValue:
		return fmt.Errorf("%w: the value of %.80q has %d bytes, at most %d: keep less, or write a file below HOME", ErrRefused, key, len(value), maxValue)
	}
	return m.change(func(all map[string]json.RawMessage) { all[key] = value })
}

// Delete forgets a value; one that is not there is forgotten already.
func (m *Memo) Delete(key string) error {
	return m.change(func(all map[string]json.RawMessage) { delete(all, key) })
}

func (m *Memo) change(edit func(map[string]json.RawMessage)) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	all, err := m.load()
	if err != nil {
		return err
	}
	edit(all)
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("%w: it is not JSON: %w", ErrRefused, err)
	}
	if len(text) > maxAll {
		return fmt.Errorf("%w: all values together would have %d bytes, at most %d: delete some", ErrRefused, len(text), maxAll)
	}
	if m.draft {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return fmt.Errorf("keep what a plugin remembers: %w", err)
	}
	return atomicfile.Write(m.path, text, 0o600)
}

func (m *Memo) load() (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	text, err := limits.ReadFile(m.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = limits.UnmarshalJSON(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the plugin remembers: %s: %w: correct the file, or remove it to begin with nothing", m.path, err)
	}
	if all == nil { // the file says null
		all = map[string]json.RawMessage{}
	}
	return all, nil
}
