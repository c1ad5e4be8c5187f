package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"

	"github.com/stavily/agents/shared/pkg/plugin"
)

func sumOf(f *File, body string) {
	sum := sha256.Sum256([]byte(body))
	f.SHA256, f.Size = hex.EncodeToString(sum[:]), int64(len(body))
}

func signedFor(s *Signer, message []byte, namespace string) []byte {
	sig, err := sshsig.Sign(bytes.NewReader(message), s.signer, sshsig.HashSHA512, namespace)
	if err != nil {
		panic(err)
	}
	return sshsig.Armor(sig)
}

func TestPackAndExtract(t *testing.T) {
	dir, key := sample(t), newKey(t)
	b := packed(t, dir, key)
	p, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := p.Verify(Keys{newKey(t).Key(), key.Key()})
	if err != nil || signer != key.Key().String() || !strings.HasSuffix(signer, " tester") {
		t.Fatalf("Verify() = %q, %v; want %s", signer, err, key.Key())
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := take(b, Keys{key.Key()}, Want{ID: "sample", Version: "1.2.0", Digest: p.Index.Digest, Over: "1.2.0"}, out); err != nil {
		t.Fatal(err)
	}
	want, _, err := plugin.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := plugin.Load(out)
	if err != nil || got.Digest != want.Digest || p.Index.Digest != want.Digest {
		t.Fatalf("digest %v, %v; want %s", got, err, want.Digest)
	}
	if diff := cmp.Diff(files(t, dir), files(t, out)); diff != "" {
		t.Errorf("what came out (-want +got):\n%s", diff)
	}
	if err := take(b, Keys{key.Key()}, Want{}, out); !errors.Is(err, errNotEmpty) || len(files(t, out)) != len(sampleFiles) {
		t.Errorf("into a directory with something in it: %v; it must stay", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	other := t.TempDir()
	root, err := os.OpenRoot(other)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := p.Extract(ctx, root); !errors.Is(err, context.Canceled) || len(files(t, other)) > 0 {
		t.Errorf("cancelled: %v, left %v", err, files(t, other))
	}
}

// files is name → mode and content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(rel)] = info.Mode().String() + " " + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPackIsReproducible packs copies that differ in everything that is not content.
func TestPackIsReproducible(t *testing.T) {
	key := newKey(t)
	one, two := sample(t), sample(t)
	for path := range sampleFiles {
		name := filepath.Join(two, path)
		mode := fs.FileMode(0o600)
		if path == "lib/run.sh" {
			mode = 0o700
		}
		if err := errors.Join(os.Chmod(name, mode), os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0))); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 && runtime.GOOS == "linux" {
			if err := os.Chown(name, 1234, 5678); err != nil {
				t.Fatal(err)
			}
		}
	}
	writeFile(t, filepath.Join(two, "__pycache__/main.cpython-311.pyc"), "left by a run")
	writeFile(t, filepath.Join(two, ".git/HEAD"), "left by git")
	if err := os.Mkdir(filepath.Join(two, "emptydir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Signer{nil, key} {
		a, b := packed(t, one, s), packed(t, two, s)
		if !bytes.Equal(a, b) {
			t.Errorf("signed %t: the same plugin gave %x and %x", s != nil, sha256.Sum256(a), sha256.Sum256(b))
		}
	}
	p, err := open(packed(t, one, nil))
	if err != nil {
		t.Fatal(err)
	}
	var signed bytes.Buffer
	if err := Sign(&signed, p, key); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signed.Bytes(), packed(t, one, key)) {
		t.Error("signing afterwards is not the same as signing at once")
	}
	again, err := open(signed.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t)
	signed.Reset()
	if err := Sign(&signed, again, other); err != nil || !bytes.Equal(signed.Bytes(), packed(t, one, other)) {
		t.Errorf("signing anew does not replace the signature (%v)", err)
	}
}

func TestPackRefusesWhatNobodyWouldTake(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"no plugin":       {func(dir string) error { return os.Remove(dir + "/plugin.yaml") }, "plugin.yaml"},
		"a bad manifest":  {func(dir string) error { return os.WriteFile(dir+"/plugin.yaml", []byte("id: ''"), 0o600) }, "plugin.yaml:1:"},
		"a link":          {func(dir string) error { return os.Symlink("main.py", dir+"/l.py") }, "l.py is a link"},
		"a name":          {func(dir string) error { return os.WriteFile(dir+"/größe.txt", nil, 0o600) }, `"größe.txt": names in a package are`},
		"case":            {func(dir string) error { return os.WriteFile(dir+"/MAIN.py", nil, 0o600) }, "one name where case does not count"},
		"the index":       {func(dir string) error { return os.WriteFile(dir+"/"+IndexName, nil, 0o600) }, "the package's own name"},
		"a file of zeros": {func(dir string) error { return os.WriteFile(dir+"/zeros", make([]byte, 8<<20), 0o600) }, "times its size"},
		"a large file": {func(dir string) error {
			f, err := os.Create(dir + "/big")
			f.Truncate(257 << 20)
			f.Close()
			return err
		}, "at most 256 MiB"},
	} {
		if runtime.GOOS == "darwin" && name == "case" {
			continue // the file system takes them for one
		}
		dir := sample(t)
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Pack(&bytes.Buffer{}, dir, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %s", name, err, c.want)
		}
	}
}

func TestReplacedWhileRead(t *testing.T) {
	dir, key := sample(t), newKey(t)
	b := packed(t, dir, key)
	p, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lib.py"), []byte("x = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	copy(b, packed(t, dir, key)) // of the same length, or it is cut off: either is refused
	out := t.TempDir()
	root, err := os.OpenRoot(out)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := p.Extract(context.Background(), root); err == nil || len(files(t, out)) > 0 {
		t.Errorf("err = %v, left %v", err, files(t, out))
	}
}

func FuzzPackage(f *testing.F) {
	key := newKey(f)
	dir := sample(f)
	f.Add(packed(f, dir, key))
	f.Add(packed(f, dir, nil))
	keys := Keys{key.Key()}
	world := f.TempDir()
	target := filepath.Join(world, "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		f.Fatal(err)
	}
	before := hashOf(f, world)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := take(b, keys, Want{}, target); err == nil {
			if len(files(t, target)) != len(sampleFiles) {
				t.Fatal("another package was taken")
			}
			for name := range sampleFiles {
				os.RemoveAll(filepath.Join(target, strings.Split(name, "/")[0]))
			}
		}
		if hashOf(t, world) != before {
			t.Fatal("something was left")
		}
	})
}

func FuzzIndex(f *testing.F) {
	p, err := open(packed(f, sample(f), nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		i, err := parseIndex(raw)
		if err != nil {
			return
		}
		for _, file := range i.Files {
			if !filepath.IsLocal(file.Path) {
				t.Errorf("took %q", file.Path)
			}
		}
	})
}
