package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostile is one archive that has to be refused, and words of the sentence that says so.
type hostile struct {
	name  string
	spoil func(a *archive)
	want  string
}

// named puts a file of this name in index and archive.
func named(name string) func(*archive) {
	return func(a *archive) {
		m, _ := a.add(name, "x")
		if strings.HasSuffix(name, "/") || strings.Contains(name, "\x00") { // tar.Writer writes neither
			m.raw = block(name, '0', 1, nil, "x")
		}
		a.settle()
	}
}

// typed makes main.py a member of another type.
func typed(typ byte, link string) func(*archive) {
	return func(a *archive) {
		m, _ := a.at("main.py")
		m.header.Typeflag, m.header.Linkname = typ, link
		if typ != tar.TypeReg {
			m.header.Size, m.body = 0, ""
		}
	}
}

// extra puts a member in the archive that the index does not name.
func extra(h tar.Header, body string) func(*archive) {
	return func(a *archive) {
		h.Size, h.Mode = int64(len(body)), 0o644
		a.before = append(a.before, member{header: h, body: body})
	}
}

func index(change func(*Index)) func(*archive) {
	return func(a *archive) { change(&a.index) }
}

// written replaces text in the index as it is written.
func written(old, new string) func(*archive) {
	return func(a *archive) {
		raw, err := a.index.encode()
		if err != nil || !bytes.Contains(raw, []byte(old)) {
			panic(old)
		}
		a.raw = bytes.Replace(raw, []byte(old), []byte(new), 1)
	}
}

func replace(name string, raw ...[]byte) func(*archive) {
	return func(a *archive) { m, _ := a.at(name); m.raw = bytes.Join(raw, nil) }
}

var long = strings.Repeat("n", 10_000)

var corpus = []hostile{
	// Names that lead elsewhere, said by the index.
	{"parent directory", named("../evil"), "must be a path below"},
	{"parent in the middle", named("lib/../../evil"), "must be a path below"},
	{"absolute", named("/tmp/evil"), "must be a path below"},
	{"drive letter", named("C:/evil"), "printable ASCII"},
	{"drive relative", named("C:evil"), "printable ASCII"},
	{"stream of a file", named("main.py:evil"), "printable ASCII"},
	{"backslashes", named(`..\..\evil`), "printable ASCII"},
	{"share", named(`\\host\share\evil`), "printable ASCII"},
	{"empty name", named(""), "must be a path below"},
	{"dot", named("."), "must be a path below"},
	{"dot inside", named("lib/./b.py"), "must be a path below"},
	{"double slash", named("lib//b.py"), "must be a path below"},
	{"trailing slash", named("lib/b/"), "must be a path below"},
	{"NUL in a name", named("b.py\x00.txt"), "printable ASCII"},
	{"newline in a name", named("b\n.py"), "printable ASCII"},
	{"escape in a name", named("\x1b[2Jb.py"), "printable ASCII"},
	{"10,000 characters", named(long), "10000 characters"},
	{"400 directories", named(strings.Repeat("d/", 99) + "f"), "deeper than"},
	{"trailing dot", named("b.py."), "ends in a dot"},
	{"trailing space", named("b.py "), "ends in a dot or a space"},
	{"device of Windows", named("lib/NUL.txt"), "device on Windows"},
	{"console of Windows", named("con"), "device on Windows"},
	{"bytecode cache", named("__pycache__/main.cpython-311.pyc"), "no part of a plugin"},
	{"git directory", named(".git/hooks/post-checkout"), "no part of a plugin"},
	{"virtual environment", named(".venv/bin/python"), "no part of a plugin"},
	{"its own index as a file", named(IndexName), "package's own name"},
	{"its own signature as a file", named(SignatureName), "package's own name"},
	{"same name twice", func(a *archive) { a.add("main.py", "y"); a.settle() }, "stands twice"},
	{"case collision", named("MAIN.py"), "case does not count"},
	{"case collision of directories", named("LIB/b.py"), "case does not count"},
	{"Unicode: composed", named("\u00e9.py"), "printable ASCII"},
	{"Unicode: decomposed", named("e\u0301.py"), "printable ASCII"},
	{"Unicode: full width", named("ｍain.py"), "printable ASCII"},
	{"Unicode: right to left", named("\u202eyp.niam"), "printable ASCII"},
	{"not UTF-8", func(a *archive) { a.add("b\xff.py", "x"); a.settle() }, "is not written as"},
	{"file as a directory", named("main.py/evil"), "is a file and a directory"},

	// Headers that say something else than the index.
	{"header leads out", func(a *archive) { m, _ := a.at("main.py"); m.header.Name = "../evil" }, "stands where the index has main.py"},
	{"header is absolute", func(a *archive) { m, _ := a.at("main.py"); m.header.Name = "/tmp/evil" }, "stands where the index has main.py"},
	{"symbolic link", typed(tar.TypeSymlink, "/etc/passwd"), "symbolic link"},
	{"symbolic link within", typed(tar.TypeSymlink, "lib/a.py"), "symbolic link"},
	{"hard link", typed(tar.TypeLink, "/etc/passwd"), "hard link"},
	{"character device", typed(tar.TypeChar, ""), "a device"},
	{"block device", typed(tar.TypeBlock, ""), "a device"},
	{"named pipe", typed(tar.TypeFifo, ""), "named pipe"},
	{"directory for a file", func(a *archive) {
		m, _ := a.at("main.py")
		m.header.Name, m.header.Typeflag, m.header.Size, m.body = "main.py/", tar.TypeDir, 0, ""
	}, "stands where"},
	{"contiguous file", replace("main.py", block("main.py", '7', 12, nil, "print('{}')\n")), "reserved type"},
	{"unknown type", replace("main.py", block("main.py", 'Z', 12, nil, "print('{}')\n")), "of type"},
	{"link with content", replace("main.py", block("main.py", '2', 12, func(b []byte) { copy(b[157:], "/etc/passwd") }, "print('{}')\n")), "symbolic link"},
	{"file with a link name", func(a *archive) {
		replace("main.py", block("main.py", '0', 12, func(b []byte) { copy(b[157:], "/etc/passwd") }, "print('{}')\n"))(a)
	}, "a link in its header"},
	{"chain of links", func(a *archive) {
		extra(tar.Header{Name: "lib/up", Typeflag: tar.TypeSymlink, Linkname: ".."}, "")(a)
		extra(tar.Header{Name: "lib/up/up", Typeflag: tar.TypeSymlink, Linkname: ".."}, "")(a)
		extra(tar.Header{Name: "lib/up/up/evil"}, "x")(a)
	}, "stands where the index has"},
	{"set-uid", func(a *archive) { m, _ := a.at("lib/a.py"); m.header.Mode = 0o4755 }, "mode 4755"},
	{"set-gid in the index", func(a *archive) { _, f := a.at("lib/a.py"); f.Mode = "2755" }, `mode "2755"`},
	{"world writable", func(a *archive) { m, _ := a.at("lib/a.py"); m.header.Mode = 0o666 }, "mode 0666"},
	{"executable without the index", func(a *archive) { m, _ := a.at("lib/a.py"); m.header.Mode = 0o755 }, "mode 0755"},
	{"an owner", func(a *archive) { m, _ := a.at("lib/a.py"); m.header.Uid, m.header.Uname = 1, "evil" }, "an owner"},
	{"a time", func(a *archive) { m, _ := a.at("lib/a.py"); m.header.ModTime = time.Unix(1, 0) }, "a time"},
	{"old header", replace("main.py", block("main.py", 0, 12, func(b []byte) { clear(b[257:265]) }, "print('{}')\n")), "a header of form"},
	{"pax: another path", func(a *archive) {
		replace("main.py", pax("path=../../evil"), block("main.py", '0', 12, nil, "print('{}')\n"))(a)
	}, "stands where the index has main.py"},
	{"pax: another size", func(a *archive) {
		replace("main.py", pax("size=600"), block("main.py", '0', 12, nil, "print('{}')\n"))(a)
	}, "has 600 bytes"},
	{"pax: negative size", func(a *archive) {
		replace("main.py", pax("size=-1"), block("main.py", '0', 12, nil, "print('{}')\n"))(a)
	}, "damaged"},
	{"pax: link target", func(a *archive) {
		replace("main.py", pax("linkpath=/etc/passwd"), block("main.py", '0', 12, nil, "print('{}')\n"))(a)
	}, "a link in its header"},
	{"pax: attributes", func(a *archive) {
		replace("main.py", pax("SCHILY.xattr.security.capability=x"), block("main.py", '0', 12, nil, "print('{}')\n"))(a)
	}, "records"},
	{"pax: global header", func(a *archive) {
		a.before = append(a.before, member{raw: block("g", 'g', 15, nil, "15 path=.././x\n")})
	}, "stands where"},
	{"pax: sparse of 5 GB", func(a *archive) {
		replace("main.py", pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=main.py", "GNU.sparse.realsize=5000000000"), block("main.py", '0', 512, nil, "1\n0\n0\n"+strings.Repeat("\x00", 506)))(a)
	}, "bytes"},
	{"GNU: sparse", replace("main.py", block("main.py", 'S', 0, func(b []byte) { copy(b[257:], "ustar  \x00"); copy(b[483:], "11060471740\x00") }, "")), "holes"},
	{"GNU: long name", func(a *archive) {
		replace("main.py", block("././@LongLink", 'L', 8, func(b []byte) { copy(b[257:], "ustar  \x00") }, "../evil\x00"), block("main.py", '0', 12, func(b []byte) { copy(b[257:], "ustar  \x00") }, "print('{}')\n"))(a)
	}, "stands where the index has main.py"},
	{"GNU: size in base 256", replace("main.py", block("main.py", '0', 12, func(b []byte) { copy(b[124:], "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c") }, "print('{}')\n")), "a header of form"},
	{"size beyond the archive", replace("main.py", block("main.py", '0', 1<<30, nil, "x")), "has 1073741824 bytes"},
	{"wrong checksum of a header", func(a *archive) {
		b := block("main.py", '0', 12, nil, "print('{}')\n")
		b[0] = 'M'
		replace("main.py", b)(a)
	}, "damaged"},

	// Members that are not what the index says.
	{"other content", func(a *archive) { m, _ := a.at("main.py"); m.body = strings.Replace(m.body, "print", "pr1nt", 1) }, "is not the one of the index"},
	{"shorter content", func(a *archive) { m, _ := a.at("main.py"); m.body, m.header.Size = "x", 1 }, "has 1 bytes"},
	{"files in another order", func(a *archive) { a.members[0], a.members[1] = a.members[1], a.members[0] }, "stands where the index has"},
	{"index in another order", index(func(i *Index) { i.Files[0], i.Files[1] = i.Files[1], i.Files[0] }), "in the order of their names"},
	{"missing file", func(a *archive) { a.members = a.members[:len(a.members)-1] }, "is missing"},
	{"file that nobody named", func(a *archive) {
		a.members = append(a.members, member{header: fileHeader("z.py", 1), body: "x"})
	}, "not in the index"},
	{"file twice in the archive", func(a *archive) { a.members = append(a.members, a.members[len(a.members)-1]) }, "not in the index"},
	{"a second index", func(a *archive) { extra(tar.Header{Name: IndexName}, "{}")(a) }, "stands where"},
	{"a second signature", func(a *archive) { extra(tar.Header{Name: SignatureName}, "x")(a) }, "stands where"},
	{"signature before index", func(a *archive) { a.swap = true }, "does not begin with"},
	{"index is a link", func(a *archive) { a.raw = []byte{} }, "ends after 0 bytes"},

	// An index that lies.
	{"not JSON", func(a *archive) { a.raw = []byte("index: yaml\n") }, "invalid JSON"},
	{"deep JSON", func(a *archive) { a.raw = []byte(strings.Repeat("[", 100_000)) }, "nested deeper"},
	{"key twice", written(`"id": "sample"`, `"id": "other", "id": "sample"`), "is not written as"},
	{"key in another case", written(`"id": `, `"ID": `), "is not written as"},
	{"unknown key", written(`"id": `, `"owner": 1, "id": `), "is not written as"},
	{"format of the future", index(func(i *Index) { i.Format = 2 }), "update it"},
	{"id that leads out", index(func(i *Index) { i.ID = "../x" }), `plugin id "../x"`},
	{"id like an option", index(func(i *Index) { i.ID = "-o" }), `plugin id "-o"`},
	{"version of no form", index(func(i *Index) { i.Version = "../1" }), "not a semantic version"},
	{"kind unknown", index(func(i *Index) { i.Kind = "virus" }), `kind "virus"`},
	{"digest of no form", index(func(i *Index) { i.Digest = "sha256:../../x" }), "64 hexadecimal digits"},
	{"digest of another tree", index(func(i *Index) { i.Digest = "sha256:" + strings.Repeat("0", 64) }), "its files have the digest"},
	{"hash of no form", func(a *archive) { _, f := a.at("main.py"); f.SHA256 = "0" }, "64 hexadecimal digits"},
	{"size below zero", func(a *archive) { _, f := a.at("main.py"); f.Size = -1 }, "size -1"},
	{"size of 5 GB", func(a *archive) { _, f := a.at("main.py"); f.Size = 5 << 30 }, "at most 256 MiB"},
	{"sizes that sum up", index(func(i *Index) {
		for n := range i.Files {
			i.Files[n].Size = 200 << 20
		}
	}), "more than 256 MiB"},
	{"sizes that overflow", func(a *archive) { a.raw = []byte(`{"format":1,"files":[{"size":9223372036854775808}]}`) }, "invalid JSON"},
	{"5,000 files", func(a *archive) {
		for n := range 5000 {
			a.index.Files = append(a.index.Files, File{Path: fmt.Sprintf("z%05d", n), Mode: plain, SHA256: strings.Repeat("0", 64)})
		}
	}, "at most 4096"},
	{"no manifest", func(a *archive) {
		_, f := a.at("plugin.yaml")
		f.Path = "plugin.yml"
		m, _ := a.at("plugin.yml")
		m.header.Name = f.Path
	}, "names no plugin.yaml"},
	{"manifest of another plugin", index(func(i *Index) { i.ID = "other" }), "asked for"},
	{"manifest of another version", index(func(i *Index) { i.Version = "9.0.0" }), "and the index says action sample 9.0.0"},
	{"manifest of another kind", index(func(i *Index) { i.Kind = "sensor" }), "and the index says sensor"},
	{"manifest that nobody can read", func(a *archive) {
		m, f := a.at("plugin.yaml")
		m.body = strings.Replace(m.body, "id:", "id!:", 1)
		m.header.Size = int64(len(m.body))
		sumOf(f, m.body)
		a.settle()
	}, "plugin.yaml:"},

	// Who made it, and what was asked for.
	{"unsigned", func(a *archive) { a.unsaid = true }, "is not signed"},
	{"another key", func(a *archive) { a.signer = stranger }, "a key that is not trusted here"},
	{"altered signature", func(a *archive) {
		raw, _ := a.index.encode()
		s, _ := a.signer.sign(raw)
		a.sig = bytes.Replace(s, []byte("\n"), []byte("\nA"), 1)
	}, "signature"},
	{"signature of another index", func(a *archive) { s, _ := a.signer.sign([]byte("{}")); a.sig = s }, "does not fit"},
	{"signature for something else", func(a *archive) { raw, _ := a.index.encode(); a.sig = signedFor(a.signer, raw, "file") }, "does not fit"},
	{"no signature in the signature", func(a *archive) { a.sig = []byte("trust me\n") }, "is not an SSH signature"},
	{"signature of 1 MB", func(a *archive) { a.sig = bytes.Repeat([]byte("x"), 1<<20) }, "too large"},
	{"older version", index(func(i *Index) { i.Version = "1.0.0" }), "is older than 1.1.0"},
	{"older by a pre-release", index(func(i *Index) { i.Version = "1.1.0-rc.1" }), "is older than 1.1.0"},

	// The archive itself.
	{"nothing", func(a *archive) { a.spoil = func([]byte) []byte { return nil } }, "not a gzip file"},
	{"not gzip", func(a *archive) { a.pack = func(b []byte) []byte { return b } }, "not a gzip file"},
	{"zip", func(a *archive) { a.spoil = func([]byte) []byte { return []byte("PK\x03\x04" + long) } }, "not a gzip file"},
	{"gzip of nothing", func(a *archive) { a.pack = func([]byte) []byte { return gzipOf(nil, gzip.Header{}) } }, "does not begin with"},
	{"gzip of noise", func(a *archive) { a.pack = func([]byte) []byte { return gzipOf([]byte(long), gzip.Header{}) } }, "damaged"},
	{"gzip in gzip", func(a *archive) {
		a.pack = func(b []byte) []byte { return gzipOf(gzipOf(b, gzip.Header{}), gzip.Header{}) }
	}, "damaged"},
	{"truncated gzip", func(a *archive) { a.spoil = func(b []byte) []byte { return b[:len(b)/2] } }, "cut off"},
	{"truncated by its checksum", func(a *archive) { a.spoil = func(b []byte) []byte { return b[:len(b)-4] } }, "cut off"},
	{"wrong checksum of gzip", func(a *archive) { a.spoil = func(b []byte) []byte { b[len(b)-8] ^= 1; return b } }, "damaged"},
	{"two gzip streams", func(a *archive) { a.spoil = func(b []byte) []byte { return append(b, b...) } }, "more follows"},
	{"empty gzip stream after it", func(a *archive) {
		a.spoil = func(b []byte) []byte { return append(b, gzipOf(nil, gzip.Header{})...) }
	}, "more follows"},
	{"trailing bytes", func(a *archive) { a.spoil = func(b []byte) []byte { return append(b, "evil"...) } }, "more follows"},
	{"trailing bytes in gzip", func(a *archive) { a.tail = []byte("evil") }, "bytes follow"},
	{"second archive in gzip", func(a *archive) {
		a.tail = tarOf([]member{{header: tar.Header{Name: "../evil", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}, body: "x"}})
	}, "bytes follow"},
	{"name in the gzip header", func(a *archive) { a.gzip = gzip.Header{Name: "../evil"} }, "gzip header"},
	{"comment in the gzip header", func(a *archive) { a.gzip = gzip.Header{Comment: "evil"} }, "gzip header"},
	{"extra in the gzip header", func(a *archive) { a.gzip = gzip.Header{Extra: []byte("evil")} }, "gzip header"},
	{"time in the gzip header", func(a *archive) { a.gzip = gzip.Header{ModTime: time.Unix(1e9, 0)} }, "gzip header"},
	{"archive of other people", func(a *archive) {
		a.pack = func([]byte) []byte { return gzipOf(tarOf(a.members), gzip.Header{}) }
	}, "does not begin with"},
}

var stranger *Signer

// TestHostileArchives builds each case on a package that is taken when it is left
// alone, and finds that it is refused with its sentence, that the directory it was to
// come into is empty, and that nothing around that has changed.
func TestHostileArchives(t *testing.T) {
	if len(corpus) < 40 {
		t.Fatalf("%d cases, want at least 40", len(corpus))
	}
	trusted := newKey(t)
	stranger = newKey(t)
	keys := Keys{trusted.Key()}
	world := t.TempDir()
	writeFile(t, filepath.Join(world, "evil"), "untouched")
	writeFile(t, filepath.Join(world, "a/b/beside"), "untouched")
	target := filepath.Join(world, "a/b/target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	before := hashOf(t, world)
	seen := map[string]bool{}
	for _, c := range corpus {
		if seen[c.name] {
			t.Errorf("%s: stands twice", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			a := build(t, trusted, sampleFiles)
			c.spoil(a)
			err := take(a.bytes(t), keys, Want{ID: "sample", Over: "1.1.0"}, target)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v\nwant   %s", err, c.want)
			} else if len(err.Error()) > 400 {
				t.Errorf("the sentence has %d characters", len(err.Error()))
			}
			if _, err := json.Marshal(fmt.Sprint(err)); err != nil {
				t.Error(err)
			}
			if after := hashOf(t, world); after != before {
				t.Fatal("something was left, in the target or beside it")
			}
		})
	}
	if err := take(build(t, trusted, sampleFiles).bytes(t), keys, Want{ID: "sample", Over: "1.1.0"}, target); err != nil {
		t.Errorf("the package that all of them are made from: %v", err)
	}
	t.Logf("%d named archives refused", len(corpus))
}
