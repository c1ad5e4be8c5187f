package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var at = time.Unix(1_700_000_000, 0).UTC()

// Archives do not depend on the order of what goes in, and hold it with its mode.
func TestArchives(t *testing.T) {
	a, b := entry{"a", 0o755, []byte("one")}, entry{"b", 0o644, []byte("two")}
	for name, archive := range map[string]func([]entry, time.Time) ([]byte, error){"tar": tarball, "zip": zipped} {
		one, err1 := archive([]entry{a, b}, at)
		two, err2 := archive([]entry{b, a}, at)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: %v, or two orders give two archives", name, err)
		}
	}
	packed, err := tarball([]entry{a}, at)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(zr)
	h, err := tr.Next()
	if err != nil || h.Name != "a" || h.FileInfo().Mode() != 0o755 || !h.ModTime.Equal(at) || h.Uid != 0 {
		t.Errorf("tar: %+v, %v", h, err)
	}
	if text, err := io.ReadAll(tr); err != nil || string(text) != "one" {
		t.Errorf("tar: %q, %v", text, err)
	}
	if packed, err = zipped([]entry{a}, at); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil || r.File[0].Mode() != 0o755 || !r.File[0].Modified.Equal(at) {
		t.Errorf("zip: %v, %v", r, err)
	}
}

// What cannot say what it is made of is not released.
func TestBillOfNoProgram(t *testing.T) {
	if _, err := billOf(program{file: "x", text: []byte("#!/bin/sh\n")}, at); err == nil {
		t.Error("a script has a bill of materials")
	}
}

func TestChecksums(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o600), os.Mkdir(filepath.Join(dir, "d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time its own file is there
		if err := checksums(dir); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil || string(text) != "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  a\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestPackRefusesAnEmptyDirectory(t *testing.T) {
	if err := packAll(t.TempDir(), t.TempDir(), at); err == nil || !strings.Contains(err.Error(), "make build-all") {
		t.Errorf("%v", err)
	}
}
