package pyenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// An environment on disk, besides what Python has there.
const (
	recordName = "stavily.json" // what is in it
	workDir    = ".build"       // of a build, removed after it
	configName = "pyvenv.cfg"
)

// build makes an environment aside and puts it in its place. On an error nothing is
// left.
func (b *Builder) build(ctx context.Context, key string, r *recipe, progress func(string)) (err error) {
	// As long as the place that it goes to, so that one name replaces the other in files.
	aside := filepath.Join(b.o.Dir, "."+strings.ToLower(rand.Text() + rand.Text())[:keyLength-1])
	if err := os.Mkdir(aside, 0o755); err != nil {
		return fmt.Errorf("make an environment: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove(filepath.Base(aside)))
		}
	}()
	if err := lay(ctx, aside, r.base, r.system); err != nil {
		return fmt.Errorf("make an environment: %w", err)
	}
	root, err := os.OpenRoot(aside)
	if err != nil {
		return err
	}
	defer root.Close()
	before, err := identity(root)
	if err != nil {
		return err
	}
	if len(r.requirements.entries) > 0 {
		if err := b.install(ctx, aside, filepath.Join(b.o.Dir, key), r, progress); err != nil {
			return err
		}
	}
	s := settling{root: root, from: aside, to: filepath.Join(b.o.Dir, key), base: r.base, identity: before}
	if err := s.run(); err != nil {
		return err
	}
	if err := s.record(r); err != nil {
		return err
	}
	return b.place(aside, key)
}

// place renames a finished environment. What stands there was found not to be whole.
func (b *Builder) place(aside, key string) error {
	if _, err := os.Lstat(filepath.Join(b.o.Dir, key)); err == nil {
		if err := b.remove(key); err != nil {
			return err
		}
	}
	if err := os.Rename(aside, filepath.Join(b.o.Dir, key)); err != nil {
		return fmt.Errorf("put the environment in its place: %w", err)
	}
	return nil
}

// settling turns what a build left into an environment that nobody changes any more.
type settling struct {
	root     *os.Root
	from, to string // where it is, and will be
	base     Interpreter
	identity string // of the environment, before anything was installed
	content  content
}

// content counts what is in an environment.
type content struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *settling) run() error {
	if err := s.root.RemoveAll(workDir); err != nil {
		return fmt.Errorf("clear up after a build: %w", err)
	}
	err := fs.WalkDir(s.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return s.settle(path, d)
	})
	if err != nil {
		return fmt.Errorf("check what was installed: %w", err)
	}
	return s.untouched()
}

// settle checks one entry, makes it the agent's, and readable for plugins.
func (s *settling) settle(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	s.content.Files++
	switch mode := info.Mode(); {
	case mode.IsDir():
		return errors.Join(take(s.root, name), s.root.Chmod(name, 0o755))
	case mode&fs.ModeSymlink != 0:
		return errors.Join(s.checkLink(name), take(s.root, name))
	case !mode.IsRegular() || links(info) > 1:
		return fmt.Errorf("%s is neither a file of its own nor a directory: no package may bring one", name)
	default:
		s.content.Bytes += info.Size()
		perm := fs.FileMode(0o644)
		if mode&0o111 != 0 {
			perm = 0o755
		}
		err := errors.Join(take(s.root, name), s.root.Chmod(name, perm))
		if err == nil && path.Dir(filepath.ToSlash(name)) == scriptsIn && info.Size() <= maxScript {
			err = s.readdress(name, perm)
		}
		return err
	}
}

// checkLink lets only those links be that stay inside, and the interpreter's.
func (s *settling) checkLink(name string) error {
	to, err := s.root.Readlink(name)
	if err != nil {
		return err
	}
	inside := !filepath.IsAbs(to) && filepath.IsLocal(filepath.Join(filepath.Dir(name), to))
	if inside || filepath.ToSlash(name) == interpreterIn && to == s.base.Base {
		return nil
	}
	return fmt.Errorf("%s is a link out of the environment, to %.200q: no package may bring one", name, to)
}

// maxScript is far more than a script has that installing makes.
const (
	maxScript  = 1 << 20
	maxConfig  = 64 << 10
	maxProgram = 64 << 20
)

// readdress has a script name the interpreter where that will be.
func (s *settling) readdress(name string, perm fs.FileMode) error {
	text, err := limits.ReadFileIn(s.root, name, maxScript)
	if err != nil || !bytes.Contains(text, []byte(s.from)) {
		return err
	}
	return s.root.WriteFile(name, bytes.ReplaceAll(text, []byte(s.from), []byte(s.to)), perm)
}

// untouched makes sure that no package replaced what makes this an environment: data
// files of a wheel go anywhere in it.
func (s *settling) untouched() error {
	now, err := identity(s.root)
	if err != nil || now != s.identity {
		return fmt.Errorf("a package replaces %s or %s of the environment: it is broken or hostile; do not use it", interpreterIn, configName)
	}
	return nil
}

// identity is what makes a directory the environment of its interpreter: where that is,
// and the configuration.
func identity(root *os.Root) (string, error) {
	config, err := limits.ReadFileIn(root, configName, maxConfig)
	if err != nil {
		return "", err
	}
	to, err := root.Readlink(filepath.FromSlash(interpreterIn))
	if err != nil { // no link: a program
		program, err := limits.ReadFileIn(root, filepath.FromSlash(interpreterIn), maxProgram)
		return fmt.Sprintf("%x\n%s", sha256.Sum256(program), config), err
	}
	return to + "\n" + string(config), nil
}

// Package is one that is installed in an environment.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Environment tells about one.
type Environment struct {
	Key          string    `json:"key"`
	Python       string    `json:"python"` // the interpreter behind it
	Version      string    `json:"version"`
	System       bool      `json:"system_packages"` // those of the system are seen
	Requirements []string  `json:"requirements"`
	Packages     []Package `json:"packages"`
	content
}

// record writes down what is in the environment.
func (s *settling) record(r *recipe) error {
	e := Environment{
		Key: filepath.Base(s.to), Python: r.base.Path, Version: r.base.Version, System: r.system,
		Requirements: []string{}, Packages: []Package{}, content: s.content,
	}
	for _, entry := range r.requirements.entries {
		e.Requirements = append(e.Requirements, entry.text)
	}
	entries, err := fs.ReadDir(s.root.FS(), r.base.Packages)
	if err != nil {
		return err
	}
	for _, d := range entries {
		if stem, found := strings.CutSuffix(d.Name(), ".dist-info"); found {
			name, version, _ := strings.Cut(stem, "-")
			e.Packages = append(e.Packages, Package{name, version})
		}
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return s.root.WriteFile(recordName, text, 0o644)
}

const maxRecord = 4 << 20

// Environment tells what is in one.
func (b *Builder) Environment(key string) (Environment, error) {
	var e Environment
	text, err := limits.ReadFile(filepath.Join(b.o.Dir, key, recordName), maxRecord)
	if err == nil {
		err = limits.UnmarshalJSON(text, &e)
	}
	if err != nil {
		return Environment{}, fmt.Errorf("read about environment %.40s: %w", key, err)
	}
	return e, nil
}

// whole reports whether an environment is there, as it was built: a crash of the host
// may leave one whose files are empty. It is looked at once in a life of the agent.
func (b *Builder) whole(key string) bool {
	b.mu.Lock()
	checked := b.checked[key]
	b.mu.Unlock()
	dir := filepath.Join(b.o.Dir, key)
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(interpreterIn))); err != nil || checked {
		return err == nil
	}
	e, err := b.Environment(key)
	if err != nil {
		return false
	}
	var now content
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == recordName && filepath.Dir(path) == dir {
			return err
		}
		now.Files++
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			now.Bytes += info.Size()
		}
		return nil
	})
	return err == nil && now == e.content
}

// asideName is that of a build that has not ended.
func asideName(name string) bool {
	return len(name) == keyLength && name[0] == '.' && !strings.ContainsFunc(name[1:], func(r rune) bool {
		return !slices.Contains([]byte("abcdefghijklmnopqrstuvwxyz234567"), byte(r))
	})
}

// adopt shows an environment the packages of the virtual environment that its
// interpreter belongs to, which are the system's to whoever chose it.
func adopt(packages string, base Interpreter, system bool) error {
	if !system || base.Parent == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(packages, "stavily-parent.pth"), []byte(base.Parent+"\n"), 0o644)
}
