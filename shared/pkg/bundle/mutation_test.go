package bundle

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ordinary is how many mutated archives `make test` tries; `make test-archives` tries
// 100,000 by STAVILY_ARCHIVES.
const ordinary = 2000

// TestMutatedArchives spoils a signed package at random, in each of its layers, and
// finds that it is refused, or taken with exactly the files that were signed, and that
// nothing else changes anywhere.
func TestMutatedArchives(t *testing.T) {
	count := ordinary
	if text := os.Getenv("STAVILY_ARCHIVES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("STAVILY_ARCHIVES=%q: must be a number", text)
		}
		count = n
	}
	key := newKey(t)
	sound := packed(t, sample(t), key)
	keys := Keys{key.Key()}
	world := t.TempDir()
	writeFile(t, filepath.Join(world, "beside"), "untouched")
	target := filepath.Join(world, "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	before := hashOf(t, world)
	if err := take(sound, keys, Want{}, target); err != nil {
		t.Fatal(err)
	}
	whole := hashOf(t, world)
	clearSample(t, target)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := mutator{rand.New(rand.NewPCG(seed, 0)), sound, expanded(t, sound)}
	taken := 0
	for n := range count {
		b := m.next()
		err := take(b, keys, Want{}, target)
		after := hashOf(t, world)
		switch {
		case err != nil && after != before:
			t.Fatalf("archive %d of seed %d: refused (%v) and something was left", n, seed, err)
		case err == nil && after != whole:
			t.Fatalf("archive %d of seed %d: taken with other files", n, seed)
		case err == nil:
			taken++
			clearSample(t, target)
		}
	}
	t.Logf("%d mutated archives: %d taken with what was signed, the rest refused", count, taken)
	if taken > count/2 {
		t.Errorf("%d of %d mutations changed nothing: they are no test", taken, count)
	}
}

func clearSample(t testing.TB, target string) {
	t.Helper()
	for name := range sampleFiles {
		if err := os.RemoveAll(filepath.Join(target, strings.Split(name, "/")[0])); err != nil {
			t.Fatal(err)
		}
	}
}

func expanded(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

type mutator struct {
	*rand.Rand
	packed, plain []byte
}

// next spoils the gzip file in one of five cases, and what is in it in the others:
// there the archive's headers, index and content are reached.
func (m mutator) next() []byte {
	if m.IntN(5) == 0 {
		return m.spoil(bytes.Clone(m.packed), 1)
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.HuffmanOnly) // fast
	_, _ = z.Write(m.spoil(bytes.Clone(m.plain), 512))
	_ = z.Close()
	return out.Bytes()
}

var words = []string{"../", "..\\", "/etc/", "\x00", "C:", "0000000", "7777777", "ustar\x00", "GNU.sparse.", "path=", "size=", "main.py", "\xff\xff\xff\xff", `"`, "}"}

// spoil makes one to three changes, the structural ones on blocks of this size.
func (m mutator) spoil(b []byte, block int) []byte {
	for range 1 + m.IntN(3) {
		if len(b) < 2*block {
			return b
		}
		at := m.IntN(len(b))
		from := at / block * block
		to := min(len(b), from+block*(1+m.IntN(4)))
		switch m.IntN(8) {
		case 0:
			b[at] ^= 1 << m.IntN(8)
		case 1:
			b[at] = byte(m.Uint32())
		case 2:
			copy(b[at:], words[m.IntN(len(words))])
		case 3:
			b = append(b[:from:from], b[to:]...) // a part is missing
		case 4:
			b = append(b[:to:to], b[from:]...) // a part stands twice
		case 5:
			b = b[:at] // cut off
		case 6: // two parts change places
			other := m.IntN(len(b)) / block * block
			n := min(block, len(b)-from, len(b)-other)
			for i := range n {
				b[from+i], b[other+i] = b[other+i], b[from+i]
			}
		case 7: // another type, with a checksum that fits
			if block == 512 && from+512 <= len(b) {
				h := b[from : from+512]
				h[156] = "01234567LKSxg\x00"[m.IntN(14)]
				copy(h[148:156], checksum(h))
			}
		}
	}
	return b
}

func checksum(h []byte) string {
	sum := 8 * int(' ')
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	text := strconv.FormatInt(int64(sum), 8)
	return strings.Repeat("0", max(0, 6-len(text))) + text + "\x00 "
}
