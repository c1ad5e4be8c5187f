package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// The members that are not files of the plugin.
const (
	IndexName     = "stavily-index.json"
	SignatureName = IndexName + ".sig"
)

// The bounds of a package. The first four are promises; maxIndex holds maxFiles
// entries with the longest names.
const (
	MaxArchive   = 64 << 20
	maxFileBytes = 256 << 20
	maxFiles     = 4096
	maxRatio     = 100
	maxIndex     = 2 << 20
	maxSignature = 16 << 10
	// maxPath leaves room for the directory that the tree comes into, where a path
	// has at most 260 characters; maxDepth keeps what walks it from deep recursion.
	maxPath  = 200
	maxDepth = 20
)

// format is the only one there is; a change that an older agent would misread is
// another number.
const format = 1

// Index says what a package holds.
type Index struct {
	Format  int          `json:"format"`
	ID      api.PluginID `json:"id"`
	Version string       `json:"version"`
	Kind    plugin.Kind  `json:"kind"`
	Digest  string       `json:"digest"` // of the tree, as plugin.Load computes it
	Files   []File       `json:"files"`  // in the order of fs.WalkDir
}

// File is one file of the plugin.
type File struct {
	Path   string `json:"path"` // slash-separated
	Mode   string `json:"mode"` // "0644" or "0755"
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

const (
	plain      = "0644"
	executable = "0755"
)

func (f File) executable() bool { return f.Mode == executable }

func (f File) perm() fs.FileMode {
	if f.executable() {
		return 0o755
	}
	return 0o644
}

// encode gives the bytes that are signed. There is one form for one index.
func (i Index) encode() ([]byte, error) {
	b, err := json.MarshalIndent(i, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", IndexName, err)
	}
	return append(b, '\n'), nil
}

// parseIndex reads an index and checks it whole. Keys that stand twice, or are
// written otherwise, make it differ from its one form: whoever checks it with another
// reader sees what we see.
func parseIndex(raw []byte) (Index, error) {
	var i Index
	if err := limits.UnmarshalJSON(raw, &i); err != nil {
		return i, fmt.Errorf("%s: %w", IndexName, err)
	}
	if i.Format != format {
		return i, fmt.Errorf("%s: format %d, and this program knows format %d: update it", IndexName, i.Format, format)
	}
	if again, err := i.encode(); err != nil || !bytes.Equal(again, raw) {
		return i, fmt.Errorf("%s: is not written as `stavily plugin pack` writes it", IndexName)
	}
	if err := i.check(); err != nil {
		return i, fmt.Errorf("%s: %w", IndexName, err)
	}
	return i, nil
}

var (
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	treeHash  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func (i Index) check() error {
	if err := i.ID.Validate(); err != nil {
		return err
	}
	if _, err := semver.NewVersion(i.Version); err != nil {
		return fmt.Errorf("version %q is not a semantic version", i.Version)
	}
	if !slices.Contains([]plugin.Kind{plugin.Sensor, plugin.Action, plugin.Output}, i.Kind) {
		return fmt.Errorf("kind %q: must be sensor, action or output", i.Kind)
	}
	if !treeHash.MatchString(i.Digest) {
		return fmt.Errorf("digest %q: must be sha256: and 64 hexadecimal digits", i.Digest)
	}
	if len(i.Files) > maxFiles {
		return fmt.Errorf("%w: %d files, at most %d", limits.ErrTooLarge, len(i.Files), maxFiles)
	}
	if !slices.ContainsFunc(i.Files, func(f File) bool { return f.Path == plugin.ManifestName }) {
		return errors.New("names no " + plugin.ManifestName)
	}
	return checkFiles(i.Files)
}

func checkFiles(files []File) error {
	total := int64(0)
	seen := names{}
	for n, f := range files {
		if err := f.check(); err != nil {
			return err
		}
		if err := seen.add(f.Path); err != nil {
			return err
		}
		if n > 0 && !before(files[n-1].Path, f.Path) {
			return fmt.Errorf("%q stands after %q: files are in the order of their names", f.Path, files[n-1].Path)
		}
		if total += f.Size; total > maxFileBytes {
			return fmt.Errorf("%w: more than %d MiB of files", limits.ErrTooLarge, maxFileBytes>>20)
		}
	}
	return nil
}

func (f File) check() error {
	switch {
	case checkPath(f.Path) != nil:
		return checkPath(f.Path)
	case f.Mode != plain && f.Mode != executable:
		return fmt.Errorf("%q: mode %q: must be %s or %s", f.Path, f.Mode, plain, executable)
	case f.Size < 0 || f.Size > maxFileBytes:
		return fmt.Errorf("%q: %w: size %d, at most %d MiB", f.Path, limits.ErrTooLarge, f.Size, maxFileBytes>>20)
	case !hexDigest.MatchString(f.SHA256):
		return fmt.Errorf("%q: sha256 %q: must be 64 hexadecimal digits", f.Path, f.SHA256)
	}
	return nil
}

// before is the order of fs.WalkDir: name by name, not byte by byte.
func before(a, b string) bool {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) < 0
}

// devices are names that Windows takes for a device in any directory, with any ending.
var devices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(\.|$)`)

// checkPath refuses what leads out of the tree and what not every file system keeps
// as it is written.
func checkPath(p string) error {
	switch {
	case len(p) > maxPath:
		return fmt.Errorf("%q…: %w: a name of %d characters, at most %d", p[:60], limits.ErrTooLarge, len(p), maxPath)
	case !fs.ValidPath(p) || p == ".":
		return fmt.Errorf("%q: must be a path below the plugin's directory, without .. and empty names", p)
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`\:*?"<>|`, r) }):
		return fmt.Errorf(`%q: names in a package are printable ASCII without \ : * ? " < > |, so that every host keeps them as they are; rename it`, p)
	case strings.Count(p, "/") >= maxDepth:
		return fmt.Errorf("%q: %w: deeper than %d directories", p, limits.ErrTooLarge, maxDepth)
	case p == IndexName || p == SignatureName:
		return fmt.Errorf("%q: is the package's own name; rename the plugin's file", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		switch {
		case plugin.Ignored(name):
			return fmt.Errorf("%q: %s holds what running and versioning leave and is no part of a plugin", p, name)
		case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
			return fmt.Errorf("%q: a name that ends in a dot or a space is another one on Windows; rename it", p)
		case devices.MatchString(name):
			return fmt.Errorf("%q: %s is a device on Windows; rename it", p, name)
		}
	}
	return nil
}

// names remembers how each file and directory is written, by its name in lower case.
type names map[string]string

// add takes one file. Directories may come again in the same spelling, files not.
func (n names) add(p string) error {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if other, ok := n[strings.ToLower(dir)]; ok && other != dir+"/" {
			return n.clash(dir+"/", other)
		}
		n[strings.ToLower(dir)] = dir + "/"
	}
	key := strings.ToLower(p)
	if other, ok := n[key]; ok {
		return n.clash(p, other)
	}
	n[key] = p
	return nil
}

func (n names) clash(p, other string) error {
	switch {
	case p == other:
		return fmt.Errorf("%q stands twice", p)
	case strings.Trim(p, "/") == strings.Trim(other, "/"):
		return fmt.Errorf("%q is a file and a directory", strings.Trim(p, "/"))
	}
	return fmt.Errorf("%q and %q are one name where case does not count; rename one", other, p)
}
