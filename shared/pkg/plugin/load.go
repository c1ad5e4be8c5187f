package plugin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
)

// ManifestName is the file that makes a directory a plugin.
const ManifestName = "plugin.yaml"

// Load reads the plugin in dir. Warnings are what the manifest says and nobody
// reads; the error, a strictyaml.Errors where the manifest is at fault, names
// every mistake with file, line and column.
//
// The digest covers the path, mode (executable or not) and content of every
// regular file and the target of every link, and so changes with any change that
// could alter what runs. Files under .git, __pycache__ and .venv do not count.
func Load(dir string) (*Plugin, strictyaml.Errors, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("load plugin: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, nil, fmt.Errorf("load plugin: %w", err)
	}
	defer root.Close()
	src, err := limits.ReadFileIn(root, ManifestName, strictyaml.MaxBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("load plugin %s: %w", abs, err)
	}
	d, err := decodeManifest(filepath.Join(abs, ManifestName), src)
	if err != nil {
		return nil, d.warnings(), err
	}
	if errs := checkFiles(root, d); len(errs) > 0 {
		return nil, d.warnings(), errs.Err()
	}
	digest, err := digestOf(root)
	if err != nil {
		return nil, d.warnings(), fmt.Errorf("load plugin %s: %w", abs, err)
	}
	return &Plugin{Manifest: d.manifest, Dir: abs, Digest: digest}, d.warnings(), nil
}

// ParseManifest reads a manifest alone; file is only used in messages.
func ParseManifest(file string, src []byte) (Manifest, strictyaml.Errors, error) {
	d, err := decodeManifest(file, src)
	return d.manifest, d.warnings(), err
}

// checkFiles finds out whether the files that the manifest names are there.
func checkFiles(root *os.Root, d *decoder) strictyaml.Errors {
	r := d.manifest.Runtime
	var errs strictyaml.Errors
	if err := checkFile(root, r.EntryPoint, r.Type == Executable && runtime.GOOS != "windows"); err != nil {
		errs = append(errs, d.at("runtime", "entry_point").errorf("runtime.entry_point: %v", err))
	}
	if r.Requirements != "" {
		if err := checkFile(root, r.Requirements, false); err != nil {
			errs = append(errs, d.at("runtime", "requirements").errorf("runtime.requirements: %v", err))
		}
	}
	return errs
}

func checkFile(root *os.Root, name string, executable bool) error {
	info, err := root.Stat(filepath.FromSlash(name))
	switch {
	case err != nil && strings.Contains(err.Error(), "escapes"):
		return fmt.Errorf("%s leads out of the plugin's directory", name)
	case err != nil:
		return fmt.Errorf("%s: %w", name, unwrapPath(err))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", name)
	case executable && info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable: chmod +x it", name)
	}
	return nil
}

// unwrapPath leaves the reason of a path error: the path is named already.
func unwrapPath(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}
