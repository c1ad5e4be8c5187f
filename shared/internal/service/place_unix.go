//go:build unix

package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// account is whom an agent runs as.
type account struct{ uid, gid int }

func lookup(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the id %q: %w", name, u.Uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the group %q: %w", name, u.Gid, err)
	}
	return account{uid, gid}, nil
}

// place makes the base directory with a configuration, all of it the agent's user's and
// nobody else's (R122, R123).
func place(a Agent) error {
	who, err := lookup(a.User)
	if err != nil {
		return err
	}
	parent := filepath.Dir(a.Base)
	made, err := ensure(parent)
	if err != nil {
		return err
	}
	if made && parent == Home {
		if err := os.Lchown(parent, who.uid, who.gid); err != nil {
			return err
		}
	}
	above, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer above.Close()
	name := filepath.Base(a.Base)
	if info, err := above.Lstat(name); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is no directory: move it away, or choose another with --base-dir", a.Base)
	}
	base, err := below(above, name)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := base.Chmod(".", 0o700); err != nil {
		return err
	}
	if err := base.MkdirAll("logs", 0o700); err != nil { // launchd opens a file there before the agent runs
		return err
	}
	if err := first(base, a); err != nil {
		return err
	}
	return give(base, who)
}

func ensure(dir string) (made bool, err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.MkdirAll(dir, 0o755)
}

// below is a directory of root, made where it is missing.
func below(root *os.Root, name string) (*os.Root, error) {
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return root.OpenRoot(name)
}

// first writes the configuration when there is none, if it belongs below the base directory.
func first(base *os.Root, a Agent) error {
	rel, err := filepath.Rel(a.Base, a.Config)
	if err != nil || !filepath.IsLocal(rel) {
		_, err := os.Stat(a.Config)
		return err
	}
	if err := base.MkdirAll(filepath.Dir(rel), 0o700); err != nil {
		return err
	}
	f, err := base.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(a.First)
	return errors.Join(err, f.Close())
}

// give makes everything in base belong to who. Links are given, not followed. A file of
// somebody else's that has a second name may have that outside, and is refused: where
// fs.protected_hardlinks is 0, the directory's owner can name any file of the host here.
// (That setting is the wall. Who renames while this runs still gets past the check.)
func give(base *os.Root, who account) error {
	return fs.WalkDir(base.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := base.Lstat(path)
		if err != nil {
			return err
		}
		owner, names := whose(info), info.Sys().(*syscall.Stat_t).Nlink
		switch {
		case owner == who:
			return nil
		case !info.IsDir() && names > 1 && owner.uid != who.uid:
			return fmt.Errorf("%s belongs to user %d and has %d names, of which others may be outside: put a copy in its place, or remove it", filepath.Join(base.Name(), path), owner.uid, names)
		}
		return base.Lchown(path, who.uid, who.gid)
	})
}

// BecomeOwner gives up root for the owner of dir, so that what this process makes there
// is not root's: it starts this program anew as that user, for a process that was root
// cannot look at itself, which the sandbox must. It does nothing for others than root, and
// where there is no dir yet.
func BecomeOwner(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := ownerOf(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && owner.uid == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err == nil {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(owner.gid), syscall.Setuid(owner.uid))
	}
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	return fmt.Errorf("become the owner of %s: %w", dir, err)
}

// ownerOf is whose a directory is. Where a link stands in its place, that is whoever made
// the link, since they chose what it leads to; only root's own is followed.
func ownerOf(dir string) (account, error) {
	info, err := os.Lstat(dir)
	if err == nil && info.Mode().Type() == fs.ModeSymlink && whose(info).uid == 0 {
		info, err = os.Stat(dir)
	}
	if err != nil {
		return account{}, err
	}
	return whose(info), nil
}

func whose(info fs.FileInfo) account {
	is := info.Sys().(*syscall.Stat_t) // what os gives on every unix
	return account{int(is.Uid), int(is.Gid)}
}

// maxUnit is far above any unit: ours has 3 KiB.
const maxUnit = 64 << 10

// writeUnit puts a unit in its place. One that somebody else wrote stays, unless it is
// to be replaced.
func writeUnit(path, text, mark string, replace bool) error {
	old, err := limits.ReadFile(path, maxUnit)
	switch {
	case err == nil && string(old) == text:
		return nil
	case err == nil && !replace && !bytes.Contains(old, []byte(mark)):
		return fmt.Errorf("%s was not written by install: look at it, then repeat with --replace", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return atomicfile.Write(path, []byte(text), 0o644)
}

// named are the agents whose units stand in dir, each its id between prefix and suffix.
func named(dir, prefix, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		name, isUnit := strings.CutSuffix(e.Name(), suffix)
		if id, ours := strings.CutPrefix(name, prefix); isUnit && ours {
			ids = append(ids, id)
		}
	}
	return ids, err
}

func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: %s takes root: repeat it with sudo", ErrNotPossible, what)
	}
	return nil
}
