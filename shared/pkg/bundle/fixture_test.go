package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/plugin"
)

const manifest = "id: sample\nversion: 1.2.0\ntype: action\nruntime: {entry_point: main.py}\n"

var sampleFiles = map[string]string{
	"plugin.yaml": manifest, "main.py": "print('{}')\n", "lib.py": "x = 1\n", "lib/a.py": "a = 1\n", "lib/run.sh": "#!/bin/sh\n", "empty": "",
}

// sample writes a plugin directory.
func sample(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample")
	for name, content := range sampleFiles {
		writeFile(t, filepath.Join(dir, name), content)
	}
	if err := os.Chmod(filepath.Join(dir, "lib/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *Signer {
	t.Helper()
	s, err := NewKey("tester")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func packed(t testing.TB, dir string, s *Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(&b, dir, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*Package, error) { return Open(bytes.NewReader(b), int64(len(b))) }

// take does what an agent does with bytes: everything, into dir.
func take(b []byte, trusted Keys, want Want, dir string) error {
	p, err := open(b)
	if err != nil {
		return err
	}
	if _, err := p.Verify(trusted); err != nil {
		return err
	}
	if err := p.Check(want); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return p.Extract(context.Background(), root)
}

// hashOf covers name, type, mode, link target and content of all below dir.
func hashOf(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v", path, info.Mode())
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			fmt.Fprintf(h, " %q", b)
			return err
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(h, " %q", target)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// archive is a package in parts, for a case to spoil one of them. Unless it says
// otherwise the index is signed by a key that is trusted: what is refused is refused
// for what it is, not for who made it.
type archive struct {
	signer  *Signer
	index   Index
	raw     []byte   // of the index; nil: as index encodes
	sig     []byte   // nil: signer's over raw
	unsaid  bool     // no signature at all
	members []member // of the files
	before  []member // between the signature and the files
	swap    bool     // signature before index
	gzip    gzip.Header
	tail    []byte                    // within the gzip stream, after the archive
	pack    func(plain []byte) []byte // instead of gzip
	spoil   func(packed []byte) []byte
}

type member struct {
	header tar.Header
	body   string
	raw    []byte // instead of header and body
}

// build makes an archive that is sound, of files and their modes.
func build(t testing.TB, s *Signer, files map[string]string) *archive {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "p")
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	a := &archive{signer: s}
	p, err := open(packed(t, dir, nil))
	if err != nil {
		t.Fatal(err)
	}
	a.index = p.Index
	for _, f := range p.Index.Files {
		a.members = append(a.members, member{header: *f.header(), body: files[f.Path]})
	}
	return a
}

// at is the member and the index's entry of a name.
func (a *archive) at(name string) (*member, *File) {
	for i := range a.index.Files {
		if a.index.Files[i].Path == name {
			return &a.members[i], &a.index.Files[i]
		}
	}
	panic(name)
}

// add puts one more file at the end of both, whatever the order is.
func (a *archive) add(name, body string) (*member, *File) {
	sum := sha256.Sum256([]byte(body))
	f := File{Path: name, Mode: plain, Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}
	a.index.Files = append(a.index.Files, f)
	a.members = append(a.members, member{header: *f.header(), body: body})
	return &a.members[len(a.members)-1], &a.index.Files[len(a.index.Files)-1]
}

// settle sorts what was added and computes the digest, as somebody would who wants it
// to be taken.
func (a *archive) settle() {
	for i := range a.index.Files {
		for j := i; j > 0 && before(a.index.Files[j].Path, a.index.Files[j-1].Path); j-- {
			a.index.Files[j], a.index.Files[j-1] = a.index.Files[j-1], a.index.Files[j]
			a.members[j], a.members[j-1] = a.members[j-1], a.members[j]
		}
	}
	d := plugin.NewTreeDigest()
	for i, f := range a.index.Files {
		fmt.Fprint(d.File(f.Path, f.executable(), f.Size), a.members[i].body)
	}
	a.index.Digest = d.String()
}

func (a *archive) bytes(t testing.TB) []byte {
	t.Helper()
	raw := a.raw
	if raw == nil {
		var err error
		if raw, err = a.index.encode(); err != nil {
			t.Fatal(err)
		}
	}
	sig := a.sig
	if sig == nil {
		var err error
		if sig, err = a.signer.sign(raw); err != nil {
			t.Fatal(err)
		}
	}
	head := []member{{header: fileHeader(IndexName, len(raw)), body: string(raw)}}
	if !a.unsaid {
		head = append(head, member{header: fileHeader(SignatureName, len(sig)), body: string(sig)})
	}
	if a.swap {
		head[0], head[1] = head[1], head[0]
	}
	plain := tarOf(append(append(head, a.before...), a.members...))
	plain = append(plain, a.tail...)
	pack := a.pack
	if pack == nil {
		pack = func(b []byte) []byte { return gzipOf(b, a.gzip) }
	}
	out := pack(plain)
	if a.spoil != nil {
		out = a.spoil(out)
	}
	return out
}

func gzipOf(b []byte, h gzip.Header) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if h.Name != "" || h.Comment != "" || h.Extra != nil || !h.ModTime.IsZero() {
		z.Header = h
	}
	if _, err := z.Write(b); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func tarOf(members []member) []byte {
	var out bytes.Buffer
	for _, m := range members {
		if m.raw != nil {
			out.Write(m.raw)
			continue
		}
		w := tar.NewWriter(&out)
		if m.header.ModTime.IsZero() {
			m.header.ModTime = time.Unix(0, 0)
		}
		if err := w.WriteHeader(&m.header); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(m.body)); err != nil {
			panic(err)
		}
		if err := w.Flush(); err != nil {
			panic(err)
		}
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// block is one raw member of the old form, with a checksum that fits, for what
// tar.Writer does not write.
func block(name string, typ byte, size int64, set func(b []byte), body string) []byte {
	b := make([]byte, 512)
	copy(b[0:100], name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = typ
	copy(b[257:], "ustar\x0000")
	if set != nil {
		set(b)
	}
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	pad := (512 - len(body)%512) % 512
	return append(append(b, body...), make([]byte, pad)...)
}

// pax is an extended header with these records, to stand before a member.
func pax(records ...string) []byte {
	var b strings.Builder
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
			if n > len(r)+20 {
				panic("no length fits")
			}
		}
		fmt.Fprintf(&b, "%d %s\n", n, r)
	}
	return block("PaxHeaders.0/x", 'x', int64(b.Len()), nil, b.String())
}

func fileHeader(name string, size int) tar.Header {
	return *File{Path: name, Mode: plain, Size: int64(size)}.header()
}
