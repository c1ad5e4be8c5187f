package wal

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// testDisk is a file system that can fail, and that knows what a power cut would leave.
type testDisk struct {
	mu     sync.Mutex
	synced map[string]int64 // bytes of each file that fsync confirmed
	syncs  int
	before func(op, path string) error // called before each change; an error fails it
}

func newDisk() *testDisk { return &testDisk{synced: map[string]int64{}} }

func (d *testDisk) open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d}, nil
}

func (d *testDisk) syncDir(dir string) error { return d.check("syncDir", dir) }

func (d *testDisk) check(op, path string) error {
	if d.before == nil {
		return nil
	}
	return d.before(op, path)
}

type diskFile struct {
	*os.File
	disk *testDisk
}

// WriteAt writes half of b when it is to fail, as a disk that fills up does.
func (f *diskFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.disk.check("write", f.Name()); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f *diskFile) Truncate(size int64) error {
	if err := f.disk.check("truncate", f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Sync does not flush, which makes the tests fast; it notes what would be safe.
func (f *diskFile) Sync() error {
	if err := f.disk.check("sync", f.Name()); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.synced[f.Name()] = info.Size()
	f.disk.syncs++
	return nil
}

// trust takes the segments that are in dir for safe, but not the last: a killed
// process may have left bytes in it that are only in the page cache.
func (d *testDisk) trust(t testing.TB, dir string) {
	t.Helper()
	segments, err := list(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, s := range segments[:max(0, len(segments)-1)] {
		d.synced[s.path] = maxSegmentFile
	}
}

// cut copies the log in from to a new directory as a power cut would leave it: of
// what was not confirmed in each file, keep says how many bytes stay.
func (d *testDisk) cut(t testing.TB, from, to string, keep func(unsynced int) int) {
	t.Helper()
	for name, content := range contents(t, from) {
		d.mu.Lock()
		safe := min(d.synced[filepath.Join(from, name)], int64(len(content)))
		d.mu.Unlock()
		content = content[:int(safe)+keep(len(content)-int(safe))]
		put(t, to, name, content)
	}
}

func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = b
	}
	return out
}

func put(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}
