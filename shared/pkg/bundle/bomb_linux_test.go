package bundle

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/limits"
)

// maxRise is what reading any archive may add to the memory of a process. The race
// detector adds its own, see bomb_race_linux_test.go.
var maxRise int64 = 20 << 20

// TestBombs unpacks archives that are made to be too large, at the agent's own pace,
// and measures how much memory that takes at most.
func TestBombs(t *testing.T) {
	key := newKey(t)
	keys := Keys{key.Key()}
	for name, c := range map[string]struct {
		make func(t *testing.T) []byte
		want string
	}{
		"10 GB of zeros in gzip": {func(t *testing.T) []byte { return zeros(t, nil, 10<<30) }, "does not begin with"},
		"10 GB in the index":     {func(t *testing.T) []byte { return zeros(t, rawHeader(IndexName, 8<<30-1), 10<<30) }, "too large"},
		"10 GB in the signature": {func(t *testing.T) []byte {
			return zeros(t, signedHead(t, key, func(*archive) {}, SignatureName), 10<<30)
		}, "too large"},
		"a file of 200 MiB in 1 MB": {func(t *testing.T) []byte { return zeros(t, signedHead(t, key, big, "main.py"), 1<<30) }, "unpack to more than"},
		"10 GB after the end": {func(t *testing.T) []byte {
			a := build(t, key, sampleFiles)
			a.pack = func(b []byte) []byte { return zeros(t, b, 10<<30) }
			return a.bytes(t)
		}, "too large"},
		"a gigabyte of pax header": {func(t *testing.T) []byte { return zeros(t, block("x", 'x', 1<<30, nil, ""), 1<<30) }, "damaged"},
		"a gigabyte of GNU long name": {func(t *testing.T) []byte {
			return zeros(t, block("x", 'L', 1<<30, func(b []byte) { copy(b[257:], "ustar  \x00") }, ""), 1<<30)
		}, "damaged"},
		"a million members": {func(t *testing.T) []byte { return million(t, key) }, ""},
		"an index of 2 MiB of nothing": {func(t *testing.T) []byte {
			a := build(t, key, sampleFiles)
			a.raw = []byte(strings.Repeat("[]", 1<<20-1))
			return a.bytes(t)
		}, "too large"},
		"an index of 4,096 long names": {func(t *testing.T) []byte { return full(t, key) }, "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.make(t)
			if len(b) > MaxArchive {
				t.Fatalf("the archive has %d bytes: it tries nothing", len(b))
			}
			target := t.TempDir()
			debug.FreeOSMemory()
			resetPeak(t)
			start := status(t, "VmRSS")
			err := take(b, keys, Want{}, target)
			rise := status(t, "VmHWM") - start
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %s", err, c.want)
			}
			if rise > maxRise {
				t.Errorf("memory rose by %d KiB, at most %d", rise>>10, maxRise>>10)
			}
			if left := files(t, target); len(left) > 0 {
				t.Errorf("left %d files", len(left))
			}
			t.Logf("%d bytes, refused with %.80v; memory rose by %d KiB", len(b), err, rise>>10)
		})
	}
	b := bytes.Repeat([]byte("x"), MaxArchive+1)
	if _, err := open(b); err == nil || !strings.Contains(err.Error(), limits.ErrTooLarge.Error()) {
		t.Errorf("an archive over the limit: %v", err)
	}
}

// zeros is a gzip stream of head and then n zeros, made without compressing each.
func zeros(t *testing.T, head []byte, n int64) []byte {
	t.Helper()
	var out bytes.Buffer
	out.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff})
	z, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	const part = 1 << 20
	flush := func(b []byte) {
		if _, err := z.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	flush(head)
	flush(make([]byte, part))
	before := out.Len()
	flush(make([]byte, part)) // whose window is zeros: it can be repeated
	repeat := bytes.Clone(out.Bytes()[before:])
	for left := n/part - 2; left > 0; left-- {
		out.Write(repeat)
	}
	return out.Bytes()
}

func rawHeader(name string, size int64) []byte {
	h := tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// big makes the index say that main.py has 200 MiB.
func big(a *archive) {
	m, f := a.at("main.py")
	f.Size, m.header.Size = 200<<20, 200<<20
}

// signedHead is a signed archive up to and with the header of one member.
func signedHead(t *testing.T, key *Signer, change func(*archive), upTo string) []byte {
	t.Helper()
	a := build(t, key, sampleFiles)
	change(a)
	raw, err := a.index.encode()
	if err != nil {
		t.Fatal(err)
	}
	head := []member{{header: fileHeader(IndexName, len(raw)), body: string(raw)}}
	if upTo == SignatureName {
		b := tarOf(head)
		return append(b[:len(b)-1024], rawHeader(SignatureName, 8<<30-1)...)
	}
	sig, err := key.sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	head = append(head, member{header: fileHeader(SignatureName, len(sig)), body: string(sig)})
	var last []byte
	for i, f := range a.index.Files {
		if f.Path == upTo {
			last = rawHeader(upTo, f.Size)
			break
		}
		head = append(head, a.members[i])
	}
	b := tarOf(head)
	return append(b[:len(b)-1024], last...)
}

// million is a signed package that a million empty members follow.
func million(t *testing.T, key *Signer) []byte {
	t.Helper()
	a := build(t, key, sampleFiles)
	a.pack = func(plain []byte) []byte {
		var out bytes.Buffer
		z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		_, _ = z.Write(plain[:len(plain)-1024])
		one := bytes.Repeat(rawHeader("z", 0), 1000)
		for range 1000 {
			_, _ = z.Write(one)
		}
		_ = z.Close()
		return out.Bytes()
	}
	return a.bytes(t)
}

// full is an index as large as it may be, of files that are not there.
func full(t *testing.T, key *Signer) []byte {
	t.Helper()
	a := build(t, key, sampleFiles)
	sum := sha256.Sum256(nil)
	for n := range maxFiles - len(sampleFiles) {
		a.index.Files = append(a.index.Files, File{Path: fmt.Sprintf("z%04d%s", n, strings.Repeat("n", 180)), Mode: plain, SHA256: hex.EncodeToString(sum[:])})
	}
	return a.bytes(t)
}

// resetPeak makes VmHWM count anew (proc(5), clear_refs).
func resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("the peak of memory cannot be measured here: %v", err)
	}
}

func status(t *testing.T, key string) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("/proc/self/status has no %s", key)
	return 0
}
