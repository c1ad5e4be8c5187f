package lossyfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func init() {
	Children(map[string]Store{
		"careful":   {Write: writeFiles(true, true), Read: readFiles},
		"unflushed": {Write: writeFiles(false, true), Read: readFiles},
		"unnamed":   {Write: writeFiles(true, false), Read: readFiles},
		"stubborn":  {Write: flushAgain, Read: readFiles},
	})
}

// writeFiles makes files of some lines each, and flushes the lines, the names, or not.
func writeFiles(lines, names bool) func(dir string, durable func(string)) error {
	return func(dir string, durable func(string)) error {
		parent, err := os.Open(dir)
		if err != nil {
			return err
		}
		for n := 0; ; n++ {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d-%d", os.Getpid(), n)), os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			if names {
				if err := parent.Sync(); err != nil {
					return err
				}
			}
			for line := range 5 {
				item := fmt.Sprintf("%s-%d", filepath.Base(f.Name()), line)
				if _, err := f.WriteString(item + "\n"); err != nil {
					return err
				}
				if lines {
					if err := f.Sync(); err != nil {
						return err
					}
				}
				durable(item)
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
}

func readFiles(dir string, there func(string)) error {
	files, err := os.ReadDir(dir)
	for _, file := range files {
		text, readErr := os.ReadFile(filepath.Join(dir, file.Name()))
		err = errors.Join(err, readErr)
		for line := range strings.Lines(string(text)) {
			there(strings.TrimSuffix(line, "\n"))
		}
	}
	return err
}

// What was flushed is there after a cut. What was not, or has no name, is lost in nearly
// each: a store that passes over this disk has flushed.
func TestCuts(t *testing.T) {
	if lost, _ := Cuts(t, "careful"); lost > 0 {
		t.Errorf("%d lines that were flushed are lost", lost)
	}
	for _, name := range []string{"unflushed", "unnamed"} {
		if _, cuts := Cuts(t, name); cuts < usualCuts/2 {
			t.Errorf("%s: only %d cuts lost anything", name, cuts)
		}
	}
}
