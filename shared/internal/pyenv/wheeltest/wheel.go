package wheeltest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// Wheel is a package as a plugin's author has one.
type Wheel struct {
	Name, Version string
	Requires      []string          // Requires-Dist
	Python        string            // Requires-Python
	Tag           string            // empty: py3-none-any
	EntryPoints   string            // entry_points.txt
	Files         map[string]string // besides the module
}

// File is where a plugin has it.
func (w Wheel) File() string {
	tag := w.Tag
	if tag == "" {
		tag = "py3-none-any"
	}
	return fmt.Sprintf("wheels/%s-%s-%s.whl", w.Name, w.Version, tag)
}

// Bytes writes the wheel: a module that knows its version, and what else it has.
func (w Wheel) Bytes(t testing.TB) []byte {
	t.Helper()
	info := fmt.Sprintf("%s-%s.dist-info/", w.Name, w.Version)
	metadata := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.Name, w.Version)
	for _, r := range w.Requires {
		metadata += "Requires-Dist: " + r + "\n"
	}
	if w.Python != "" {
		metadata += "Requires-Python: " + w.Python + "\n"
	}
	files := map[string]string{
		w.Name + ".py":    fmt.Sprintf("VERSION = %q\n", w.Version),
		info + "METADATA": metadata,
		info + "WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
	}
	if w.EntryPoints != "" {
		files[info+"entry_points.txt"] = w.EntryPoints
	}
	for name, content := range w.Files {
		files[strings.ReplaceAll(name, "DATA/", fmt.Sprintf("%s-%s.data/", w.Name, w.Version))] = content
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var record strings.Builder
	for _, name := range names {
		sum := sha256.Sum256([]byte(files[name]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[name]))
	}
	fmt.Fprintf(&record, "%sRECORD,,\n", info)
	files[info+"RECORD"] = record.String()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range append(names, info+"RECORD") {
		f, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(f, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Hash is the wheel's as requirements write it.
func (w Wheel) Hash(t testing.TB) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(w.Bytes(t)))
}
