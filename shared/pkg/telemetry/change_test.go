package telemetry

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is logged changes its place and form while loggers that were made before go on.
func TestLoggingChangesWhileRunning(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	o := LogOptions{Level: "info", Format: "json", Output: "both", Stdout: &out, File: filepath.Join(dir, "a.log"), MaxSizeMB: 1}
	root, change, err := NewLogger(o)
	if err != nil {
		t.Fatal(err)
	}
	log := root.With(KeyAgent, "web-01").WithGroup("g")
	log.Info("one")
	wrong := o
	wrong.File = filepath.Join(dir, "none", "b.log")
	if _, err := change.Prepare(wrong); err == nil {
		t.Error("a file that cannot be made is taken")
	}
	log.Info("two")
	o.Format, o.Level, o.File, o.Output = "text", "debug", filepath.Join(dir, "b.log"), "file"
	next, err := change.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Commit(); err != nil {
		t.Fatal(err)
	}
	log.Debug("three", "k", 1)
	o.File, o.Level = filepath.Join(dir, "c.log"), "error"
	given, err := change.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := given.Discard(); err != nil {
		t.Fatal(err)
	}
	log.Info("four")
	if err := change.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := string(readFile(t, filepath.Join(dir, "a.log"))), string(readFile(t, filepath.Join(dir, "b.log")))
	if strings.Count(a, `"agent":"web-01"`) != 2 || a != out.String() {
		t.Errorf("before the change\n%s\nand standard output\n%s", a, &out)
	}
	if strings.Count(b, "\n") != 2 || !strings.Contains(b, "msg=three agent=web-01 g.k=1") || !strings.Contains(b, "msg=four") {
		t.Errorf("after the change\n%s", b)
	}
	if c := readFile(t, filepath.Join(dir, "c.log")); len(c) != 0 {
		t.Errorf("a change that was given up is in force: %s", c)
	}
}

// Rotated files go when they are older than max_age.
func TestOldBackupsGo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	o := LogOptions{Level: "info", Format: "json", Output: "file", File: path, MaxSizeMB: 1, MaxAgeDays: 2}
	rotate := func() []string {
		t.Helper()
		log, closer, err := NewLogger(o)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			log.Info(strings.Repeat("x", 600<<10))
		}
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "a-*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	first := rotate()
	if len(first) == 0 {
		t.Fatal("nothing was rotated")
	}
	name := filepath.Base(first[0])
	stamp := name[len("a-"):len("a-2006-01-02")]
	old := filepath.Join(dir, "a-"+time.Now().AddDate(0, 0, -3).Format("2006-01-02")+strings.TrimPrefix(name, "a-"+stamp))
	if err := os.Rename(first[0], old); err != nil {
		t.Fatal(err)
	}
	rotate()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s is kept: %v", filepath.Base(old), err)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// A log that cannot be written costs nobody but its reader: slog does not even tell.
func TestAFullDiskDoesNotStopTheWork(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: []io.Writer{full{}, &out}}
	log := slog.New(slog.NewTextHandler(l, nil))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			log.Info("work")
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("logging to a full disk blocks")
	}
	if n := strings.Count(out.String(), "\n"); n != 1000 {
		t.Errorf("standard output has %d lines of 1000", n)
	}
}

// The log of a plugin is rotated for itself, by the same rules (R187).
func TestPluginLogsAreRotated(t *testing.T) {
	dir := t.TempDir()
	log, err := NewPluginLog(dir, "p", LogOptions{MaxSizeMB: 1, MaxBackups: 1, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 << 20 / (64 << 10) {
		if _, err := io.WriteString(log, strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	zipped, err := filepath.Glob(filepath.Join(dir, "p-*.gz"))
	entries, _ := os.ReadDir(dir)
	if err != nil || len(zipped) != 1 || len(entries) != 2 {
		t.Errorf("%v, %v: want p.log and one compressed backup", entries, err)
	}
}
