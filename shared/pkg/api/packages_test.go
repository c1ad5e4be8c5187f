package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// depot serves one package as the orchestrator does, and can break off.
type depot struct {
	p       api.AssignedPlugin
	content []byte
	most    int // bytes of one answer's body before the connection breaks; 0: all
	ranges  []string
}

func newDepot(size int) *depot {
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{7})
	random.Read(content)
	sum := sha256.Sum256(content)
	p := assigned
	p.Size, p.Digest = int64(size), "sha256:"+hex.EncodeToString(sum[:])
	return &depot{p: p, content: content}
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.ranges = append(d.ranges, r.Header.Get("Range"))
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Etag", `"`+d.p.Digest+`"`)
	w.Header().Set(api.HeaderDigest, d.p.Digest)
	if d.most == 0 {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.content))
		return
	}
	http.ServeContent(&cutting{w, d.most}, r, "", time.Time{}, bytes.NewReader(d.content))
}

// cutting breaks the connection after so many bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	b = b[:min(len(b), c.left)]
	n, err := c.ResponseWriter.Write(b)
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func scratch(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "package"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contentOf(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDownloadGoesOn: three connections that break add up to one package, and each asks
// only for what is missing.
func TestDownloadGoesOn(t *testing.T) {
	d := newDepot(300 << 10)
	d.most = 100 << 10
	_, c := both(t, d.ServeHTTP)
	f := scratch(t)
	var err error
	for range 4 {
		if err = c.FetchPackage(t.Context(), d.p, f); err == nil {
			break
		}
		if !api.Retryable(err) {
			t.Fatalf("%v, want one that is retryable", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(contentOf(t, f), d.content) {
		t.Error("the file is not the package")
	}
	if len(d.ranges) < 3 || d.ranges[0] != "" || d.ranges[1] != "bytes=102400-" {
		t.Errorf("asked for ranges %q", d.ranges)
	}
	asked := len(d.ranges)
	if err := c.FetchPackage(t.Context(), d.p, f); err != nil || len(d.ranges) != asked {
		t.Errorf("a whole file: %v with %d requests more, want none", err, len(d.ranges)-asked)
	}
}

// TestWrongPackages: what arrives is held against what was assigned, and nothing of it
// stays.
func TestWrongPackages(t *testing.T) {
	for name, spoil := range map[string]func(d *depot, f *os.File){
		"other bytes":           func(d *depot, _ *os.File) { d.content[77] ^= 1 },
		"longer":                func(d *depot, _ *os.File) { d.content = append(d.content, 0) },
		"shorter":               func(d *depot, _ *os.File) { d.content = d.content[:len(d.content)-1] },
		"another begin":         func(_ *depot, f *os.File) { f.WriteString("not the beginning") },
		"a whole one that isnt": func(d *depot, f *os.File) { f.Write(make([]byte, len(d.content))) },
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newDepot(10<<10), scratch(t)
			spoil(d, f)
			_, c := both(t, d.ServeHTTP)
			if err := c.FetchPackage(t.Context(), d.p, f); !errors.Is(err, api.ErrWrongPackage) {
				t.Errorf("%v, want ErrWrongPackage", err)
			}
			if left := contentOf(t, f); len(left) > 0 {
				t.Errorf("%d bytes stay", len(left))
			}
		})
	}
}

// TestOverlongFileIsFetchedAnew: a file with more than the package cannot be its beginning.
func TestOverlongFileIsFetchedAnew(t *testing.T) {
	d, f := newDepot(10<<10), scratch(t)
	f.Write(make([]byte, 20<<10))
	_, c := both(t, d.ServeHTTP)
	if err := c.FetchPackage(t.Context(), d.p, f); err != nil || !bytes.Equal(contentOf(t, f), d.content) {
		t.Errorf("%v, or another content", err)
	}
}

func TestDownloadAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>log in</html>") },
		"another version": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/gzip")
			w.Header().Set(api.HeaderDigest, assigned.TreeDigest)
		},
		"a redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example.com/")
			w.WriteHeader(http.StatusFound)
		},
		"another range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/gzip")
			w.Header().Set(api.HeaderDigest, assigned.Digest)
			w.Header().Set("Content-Range", "bytes 0-11/12")
			w.WriteHeader(http.StatusPartialContent)
		},
		"a refusal": func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusNotFound, api.ErrorBody{Error: api.Errorf(api.CodeNotFound, "Not assigned.")})
		},
	} {
		_, c := both(t, h)
		f := scratch(t)
		f.WriteString("have")
		err := c.FetchPackage(t.Context(), assigned, f)
		if err == nil || strings.Contains(err.Error(), "<html>") {
			t.Errorf("%s: %v, want an error without foreign text", name, err)
		}
		if is := api.CodeOf(err) == api.CodeNotFound; is != (name == "a refusal") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStalledDownloadEnds: it may take longer than a call, but not stand still for so long.
func TestStalledDownloadEnds(t *testing.T) {
	const timeout = 300 * time.Millisecond
	d := newDepot(64)
	_, c := both(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/gzip")
		w.Header().Set(api.HeaderDigest, d.p.Digest)
		for i := range 6 {
			w.Write(d.content[i : i+1])
			w.(http.Flusher).Flush()
			time.Sleep(timeout / 3)
		}
		<-r.Context().Done()
	}, within(timeout))
	begin := time.Now()
	f := scratch(t)
	err := c.FetchPackage(t.Context(), d.p, f)
	if u := (*api.UnreachableError)(nil); !errors.As(err, &u) {
		t.Errorf("%v, want an *api.UnreachableError", err)
	}
	if took := time.Since(begin); took < 2*timeout || len(contentOf(t, f)) != 6 {
		t.Errorf("ended after %v with %d bytes, want those that came, and time while they came", took, len(contentOf(t, f)))
	}
}

func TestOrchestratorWithoutPackages(t *testing.T) {
	_, c := both(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusNotFound, api.ErrorBody{Error: api.Errorf(api.CodeNotFound, "Nothing is served here.")})
	})
	if _, changed, err := c.Assignments(t.Context(), "", 0); !errors.Is(err, api.ErrNotServed) || changed || api.Retryable(err) {
		t.Errorf("changed %v, %v, want ErrNotServed", changed, err)
	}
	_, c = both(t, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) })
	if _, _, err := c.Assignments(t.Context(), "", 0); err == nil || errors.Is(err, api.ErrNotServed) {
		t.Errorf("a 404 of something else: %v", err)
	}
	_, c = both(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if _, changed, err := c.Assignments(t.Context(), "v1", 0); changed || err != nil {
		t.Errorf("204: changed %v, %v", changed, err)
	}
}
