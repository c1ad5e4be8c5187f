package pyenv

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// wheelsDir is where a plugin has its wheels.
const wheelsDir = "wheels"

// Bounds of what is at hand. Machine learning has wheels of a gigabyte.
const (
	maxArtifacts     = 5000
	maxArtifactBytes = 4 << 30
)

// artifact is a package's file that is at hand.
type artifact struct {
	name   string // of the file
	dir    string // that holds it, absolute
	digest string
}

func (a artifact) isWheel() bool { return strings.HasSuffix(a.name, ".whl") }

// project is what it is a package of.
func (a artifact) project() string {
	name, version, ok := strings.Cut(a.name, "-")
	if !a.isWheel() { // name-with-dashes-1.0.tar.gz
		for ok && version != "" && (version[0] < '0' || version[0] > '9') {
			var part string
			part, version, ok = strings.Cut(version, "-")
			name += "-" + part
		}
	}
	return projectName(name)
}

var artifactSuffixes = []string{".whl", ".tar.gz", ".zip"}

// digests remembers the digest of files that did not change.
type digests struct {
	mu    sync.Mutex
	known map[string]digested
}

type digested struct {
	size   int64
	at     time.Time
	digest string
}

// list tells the artifacts in the directory with this name below root, by name. One that
// does not exist holds none. Links are no artifacts: nothing says what they lead to
// when they are used.
func (d *digests) list(root *os.Root, name string) ([]artifact, error) {
	entries, err := fs.ReadDir(root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []artifact
	for _, e := range entries {
		if !e.Type().IsRegular() || !slices.ContainsFunc(artifactSuffixes, func(s string) bool { return strings.HasSuffix(e.Name(), s) }) {
			continue
		}
		if len(out) == maxArtifacts {
			return nil, fmt.Errorf("%w: more than %d packages in %s", limits.ErrTooLarge, maxArtifacts, filepath.Join(root.Name(), name))
		}
		digest, err := d.of(root, filepath.Join(name, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, artifact{e.Name(), filepath.Join(root.Name(), name), digest})
	}
	slices.SortFunc(out, func(a, b artifact) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

func (d *digests) of(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root.Name(), name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if was, found := d.known[path]; found && was.size == info.Size() && was.at.Equal(info.ModTime()) {
		return was.digest, nil
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxArtifactBytes+1))
	switch {
	case err != nil:
		return "", err
	case n > maxArtifactBytes:
		return "", fmt.Errorf("%s: %w: more than %d MiB", path, limits.ErrTooLarge, maxArtifactBytes>>20)
	}
	digest := hex.EncodeToString(h.Sum(nil))
	if d.known == nil {
		d.known = map[string]digested{}
	}
	d.known[path] = digested{info.Size(), info.ModTime(), digest}
	return digest, nil
}
