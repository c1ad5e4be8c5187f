package engine

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// maxManifest bounds the manifest of a published package, which is stored with its record.
const maxManifest = 64 << 10

// examine reads a package whole and writes nothing: every file is the one of the index,
// the tree has the index's digest, the manifest is of the index's plugin and names files
// that are there, and a trusted key has signed it, if there are such keys.
func examine(r io.ReaderAt, size int64, keys bundle.Keys) (store.Package, error) {
	p, err := bundle.Open(r, size)
	if err != nil {
		return store.Package{}, err
	}
	if err := api.ValidateVersion(p.Index.Version); err != nil {
		return store.Package{}, err
	}
	signer, err := signerOf(p, keys)
	if err != nil {
		return store.Package{}, err
	}
	text, err := manifestIn(p)
	if err != nil {
		return store.Package{}, err
	}
	m, _, err := plugin.ParseManifest(plugin.ManifestName, text)
	if err != nil {
		return store.Package{}, err
	}
	if m.ID != p.Index.ID || m.Version != p.Index.Version || m.Kind != p.Index.Kind {
		return store.Package{}, fmt.Errorf("its %s is of %s %s %s, and its index says %s %s %s", plugin.ManifestName, m.Kind, m.ID, m.Version, p.Index.Kind, p.Index.ID, p.Index.Version)
	}
	if err := hasFiles(p.Index, m); err != nil {
		return store.Package{}, err
	}
	return store.Package{
		ID: m.ID, Version: m.Version, Kind: string(m.Kind), TreeDigest: p.Index.Digest, Manifest: string(text),
		Signer: signer, Signature: unarmored(p.Signature()),
	}, nil
}

// signerOf is the trusted key that signed; without keys everything is taken, and nobody
// vouches for it here.
func signerOf(p *bundle.Package, keys bundle.Keys) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	signer, err := p.Verify(keys)
	if errors.Is(err, bundle.ErrUntrusted) {
		return "", fmt.Errorf("%w; `stavily plugins trust` lets this organisation take what that key signs", err)
	}
	return signer, err
}

// manifestIn checks every file and returns the manifest.
func manifestIn(p *bundle.Package) (text []byte, err error) {
	tree := plugin.NewTreeDigest()
	err = p.Each(func(f bundle.File, content io.Reader) error {
		content = io.TeeReader(content, tree.File(f.Path, f.Mode == "0755", f.Size))
		if f.Path != plugin.ManifestName {
			_, err := io.Copy(io.Discard, content)
			return err
		}
		if text, err = limits.ReadAll(content, min(maxManifest, strictyaml.MaxBytes)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		return nil
	})
	if err == nil && tree.String() != p.Index.Digest {
		err = fmt.Errorf("its files have the digest %s, and its index says %s", tree, p.Index.Digest)
	}
	return text, err
}

// hasFiles holds that what the manifest names is in the package.
func hasFiles(i bundle.Index, m plugin.Manifest) error {
	there := map[string]bool{}
	for _, f := range i.Files {
		there[f.Path] = true
	}
	for key, name := range map[string]string{"runtime.entry_point": m.Runtime.EntryPoint, "runtime.requirements": m.Runtime.Requirements} {
		if name != "" && !there[name] {
			return fmt.Errorf("its manifest names %s as %s, which is not in the package", name, key)
		}
	}
	return nil
}

// unarmored is the base64 of an armored signature in one line.
func unarmored(armored []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(armored)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			b.WriteString(line)
		}
	}
	return b.String()
}
