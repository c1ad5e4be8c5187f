package execution

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

// sample writes the journal of four attempts and returns its segment and name.
func sample(t *testing.T) (name string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	for _, id := range []api.InstructionID{"accepted", "started", "ended", "reported"} {
		must(t, j.Accept(instruction(string(id), 1)))
		if id != "accepted" {
			must(t, j.Starting(id, 1))
		}
		if id == "ended" || id == "reported" {
			must(t, j.Ended(id, 1, completed()))
		}
	}
	must(t, j.Reported("reported", 1))
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	must(t, err)
	name = segments[len(segments)-1]
	content, err = os.ReadFile(name)
	must(t, err)
	return filepath.Base(name), content
}

// check opens a journal with the given content. Whatever is missing in it, nothing
// that ran may be taken for something that did not.
func check(t *testing.T, what, name string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	j, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer j.Close()
	for _, e := range j.Unreported() {
		ran := e.ID != "accepted"
		if ran && string(e.Result.ErrorDetails) == `{"started":false}` {
			t.Errorf("%s: %s had started and is said not to have", what, e.ID)
		}
		if e.ID == "ended" && e.Result.Status != api.Completed && e.Result.Status != api.Interrupted {
			t.Errorf("%s: result of %s is %+v", what, e.ID, e.Result)
		}
	}
	for _, id := range []api.InstructionID{"started", "ended", "reported"} {
		if !j.Seen(id, 1) {
			t.Errorf("%s: %s was forgotten, though only one of its records is damaged", what, id)
		}
	}
	must(t, j.Accept(instruction("next", 1)))
}

// R8: a flipped bit in any byte.
func TestFlippedBits(t *testing.T) {
	name, content := sample(t)
	for at := 0; at < len(content); at += 7 { // not all: every open costs several fsyncs
		flipped := bytes.Clone(content)
		flipped[at] ^= 1 << (at % 8)
		check(t, fmt.Sprintf("bit %d of byte %d", at%8, at), name, flipped)
	}
}

// A record that is gone as a whole, the last one too: what it said is not known, and
// the attempts are still reported.
func TestLostRecord(t *testing.T) {
	name, content := sample(t)
	for _, at := range records(content) {
		damaged := bytes.Clone(content)
		damaged[at+20] ^= 1 // inside its payload
		check(t, fmt.Sprintf("record at %d", at), name, damaged)
	}
}

// The record of the Start is the last one, and damaged: it looks like a write that was
// cut short, and may have been one after which the plugin ran.
func TestDamagedStart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	must(t, j.Accept(instruction("a", 1)))
	must(t, j.Starting("a", 1))
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	must(t, err)
	name := segments[len(segments)-1]
	content, err := os.ReadFile(name)
	must(t, err)
	content[len(content)-1] ^= 1
	must(t, os.WriteFile(name, content, 0o600))
	j, _, err = Open(dir, Options{})
	must(t, err)
	defer j.Close()
	if diff := cmp.Diff(map[string]string{"a/1": `interrupted{"started":true}`}, summary(j)); diff != "" {
		t.Errorf("to be reported (-want +got):\n%s", diff)
	}
}

// records finds where the records begin, by their JSON.
func records(content []byte) (at []int) {
	for i := range content {
		if bytes.HasPrefix(content[i:], []byte(`[{"id"`)) {
			at = append(at, i-16)
		}
	}
	return at
}

// The agent dies while it compacts: what is there twice counts once.
func TestCrashWhileCompacting(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	for n := range 6 {
		id := api.InstructionID(fmt.Sprint("i", n))
		must(t, j.Accept(instruction(string(id), 1)))
		must(t, j.Starting(id, 1))
		must(t, j.Ended(id, 1, completed()))
		if n%2 == 0 {
			must(t, j.Reported(id, 1))
		}
	}
	want := summary(j)
	must(t, j.log.Rotate())
	must(t, j.rewrite()) // and no Release
	must(t, j.append([]Entry{j.entries[Key{"i1", 1}]}))
	must(t, j.Close())
	j = open(t, dir, Options{})
	if got := summary(j); len(got) != len(want) || len(got) != 3 {
		t.Errorf("to be reported: %v, want %v", got, want)
	}
	for n := range 6 {
		if !j.Seen(api.InstructionID(fmt.Sprint("i", n)), 1) {
			t.Errorf("i%d was forgotten", n)
		}
	}
}
