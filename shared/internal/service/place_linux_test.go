package service

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What a base directory holds becomes the account's, and nothing that a link in it, or in
// its place, leads to.
func TestPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to give files to another user takes root")
	}
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	base := filepath.Join(dir, "parent", "agent-web-01")
	a := Agent{Base: base, Config: filepath.Join(base, "config", "agent.yaml"), First: []byte("first"), User: "nobody"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte("x"), 0o644))
	must(os.MkdirAll(filepath.Join(base, "data"), 0o755))
	must(os.Symlink(outside, filepath.Join(base, "data", "link")))
	must(place(a))
	must(place(a)) // again
	who, err := lookup("nobody")
	must(err)
	for path, want := range map[string]struct {
		uid  int
		mode os.FileMode
	}{
		base:                                {who.uid, os.ModeDir | 0o700},
		filepath.Join(base, "config"):       {who.uid, os.ModeDir | 0o700},
		filepath.Join(base, "logs"):         {who.uid, os.ModeDir | 0o700},
		a.Config:                            {who.uid, 0o600},
		filepath.Join(base, "data", "link"): {who.uid, os.ModeSymlink | 0o777},
		outside:                             {0, 0o644},
		filepath.Dir(base):                  {0, os.ModeDir | 0o755},
	} {
		info, err := os.Lstat(path)
		must(err)
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != want.uid || info.Mode() != want.mode {
			t.Errorf("%s belongs to %d with %v, want %d with %v", path, got, info.Mode(), want.uid, want.mode)
		}
	}
	must(os.WriteFile(a.Config, []byte("mine"), 0o600))
	must(place(a))
	if text, err := os.ReadFile(a.Config); err != nil || string(text) != "mine" {
		t.Errorf("a configuration that was there became %q, %v", text, err)
	}
	away := filepath.Join(dir, "parent", "away")
	must(os.Symlink("/etc", away))
	a.Base, a.Config = away, filepath.Join(away, "agent.yaml")
	if err := place(a); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("a link for a base directory: %v", err)
	}
}

// A name in a base directory for a file of somebody else's does not give that away.
func TestPlaceGivesNoForeignFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to give files to another user takes root")
	}
	dir := t.TempDir()
	foreign, base := filepath.Join(dir, "shadow"), filepath.Join(dir, "agent-web-01")
	a := Agent{Base: base, Config: filepath.Join(base, "config", "agent.yaml"), User: "nobody"}
	if err := errors.Join(place(a), os.WriteFile(foreign, []byte("x"), 0o600), os.Link(foreign, filepath.Join(base, "mine"))); err != nil {
		t.Fatal(err)
	}
	if err := place(a); err == nil || !strings.Contains(err.Error(), filepath.Join(base, "mine")+" belongs to user 0") {
		t.Errorf("a second name of a foreign file: %v", err)
	}
	info, err := os.Stat(foreign)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the foreign file became %+v, %v", info, err)
	}
	who, err := lookup("nobody")
	if err := errors.Join(err, os.Lchown(foreign, who.uid, 0)); err != nil { // its own files may have two names
		t.Fatal(err)
	}
	if err := place(a); err != nil {
		t.Errorf("two names of the account's own file: %v", err)
	}
}

// A link in the place of a base directory does not choose for root whom it becomes.
func TestOwnerOf(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to give files to another user takes root")
	}
	dir := t.TempDir()
	who, err := lookup("nobody")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(err, os.Mkdir(at("root"), 0o755), os.Mkdir(at("theirs"), 0o755), os.Lchown(at("theirs"), who.uid, who.gid),
		os.Symlink(at("theirs"), at("roots link to theirs")),
		os.Symlink(at("root"), at("their link to root")), os.Lchown(at("their link to root"), who.uid, who.gid)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]account{"root": {}, "theirs": who, "roots link to theirs": who, "their link to root": who} {
		if got, err := ownerOf(at(name)); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	if _, err := ownerOf(at("gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestWriteUnit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.service")
	for i, c := range []struct {
		text    string
		replace bool
		refused bool
	}{
		{"# mark\n1", false, false},
		{"# mark\n2", false, false}, // ours: brought up to date
		{"by hand", true, false},
		{"# mark\n3", false, true},
		{"# mark\n3", true, false},
	} {
		if err := writeUnit(path, c.text, "# mark", c.replace); (err != nil) != c.refused {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A unit names a group that is there: not every account has one of its own name.
func TestGroupOf(t *testing.T) {
	who, err := lookup("sync")
	if err != nil {
		t.Skipf("no account to ask about: %v", err)
	}
	for name, want := range map[string]string{"root": "root", "no-such-account": "no-such-account", "sync": strconv.Itoa(who.gid)} {
		if got := groupOf(name); got != want {
			t.Errorf("groupOf(%s) = %s, want %s", name, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sensor-agent-b.service", "sensor-agent-a.service", "action-agent-c.service", "sensor-agent-d.timer"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sensor-agent-a.service.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ids, err := named(dir, "sensor-agent-", ".service"); err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("named() = %q, %v", ids, err)
	}
	if ids, err := named(filepath.Join(dir, "gone"), "", ""); err != nil || ids != nil {
		t.Errorf("without the directory: %q, %v", ids, err)
	}
}
