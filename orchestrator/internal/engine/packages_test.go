package engine

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// publishes wants a package to be taken, or refused with these words.
func (w world) publishes(org api.OrgID, content []byte, refusal string) store.Package {
	w.t.Helper()
	p, _, err := w.Publish(w.t.Context(), org, bytes.NewReader(content))
	if refusal == "" && err != nil || refusal != "" && (api.CodeOf(err) == "" || !strings.Contains(err.Error(), refusal)) {
		w.t.Fatalf("Publish = %v, want %q", err, refusal)
	}
	return p
}

func TestPublishing(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		one := packtest.Pack(t, "cleaner", "1.0.0", nil)
		p := w.publishes("default", one, "")
		if p.Size != int64(len(one)) || p.Kind != "action" || p.Signature != "" || !strings.Contains(p.Manifest, "id: cleaner") {
			t.Errorf("published %+v", p)
		}
		again, fresh, err := w.Publish(t.Context(), "default", bytes.NewReader(one))
		if err != nil || fresh || !again.PublishedAt.Equal(p.PublishedAt) {
			t.Errorf("the same bytes again: fresh %v, %v", fresh, err)
		}
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil, "description: other bytes"), "a version never changes")
		w.publishes("default", packtest.Pack(t, "cleaner", "1.1.0", nil, "type: output"), "give it another id")
		w.publishes("default", []byte("not a package"), "is not a gzip file")
		w.publishes("default", one[:len(one)-9], "damaged or cut off")
		w.publishes("default", append(slices.Clone(one), 0), "more follows")
		w.publishes("default", nil, "not taken")
		_, _, err = w.Publish(t.Context(), "default", io.MultiReader(bytes.NewReader(one), failing{}))
		if !errors.Is(err, errBroke) {
			t.Errorf("an upload that breaks off: %v", err)
		}
		w.read(func(r store.Reader) error {
			all, err := r.Packages("")
			if len(all) != 1 {
				t.Errorf("%d packages after what was refused, want 1", len(all))
			}
			return err
		})
		entries, err := os.ReadDir(depotDir(t, w))
		if err != nil || len(entries) != 1 {
			t.Errorf("%d files of one package, %v", len(entries), err)
		}
		w.audited("package.publish", "cleaner@1.0.0")
	})
}

var errBroke = errors.New("broke off")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroke }

// depotDir is the directory that the depot of w is in, found by a file of it.
func depotDir(t testing.TB, w world) string {
	t.Helper()
	var digest string
	w.read(func(r store.Reader) error {
		all, err := r.Packages("")
		if len(all) > 0 {
			digest = all[0].Digest
		}
		return err
	})
	f, err := w.depot.File(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return filepath.Dir(f.Name())
}

// audited wants a record of an action.
func (w world) audited(action, object string) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		rows, err := r.Audit(0, 1000)
		if !slices.ContainsFunc(rows, func(a store.Audit) bool { return a.Action == action && a.Object == object }) {
			w.t.Errorf("no audit record of %s %s in %v", action, object, rows)
		}
		return err
	})
}

// TestTrustedPublishers: from the first trusted key on, only what such a key signed is
// taken, and only by the organisation that trusts it.
func TestTrustedPublishers(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		ours, theirs := packtest.NewKey(t), packtest.NewKey(t)
		for _, text := range []string{"", "# none\n", "ssh-rsa AAAA", "../../etc/passwd"} {
			if _, err := w.Trust(t.Context(), "default", text); api.CodeOf(err) != api.CodeInvalid {
				t.Errorf("Trust(%q): %v", text, err)
			}
		}
		if _, err := w.Trust(t.Context(), "default", ours.Key().Line()+"\n"); err != nil {
			t.Fatal(err)
		}
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "is not signed")
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", theirs), "not trusted here")
		p := w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", ours), "")
		if p.Signer != ours.Key().String() || len(p.Signature) < 100 || strings.ContainsAny(p.Signature, "\n- ") {
			t.Errorf("signer %q, signature %q", p.Signer, p.Signature)
		}
		w.publishes("other", packtest.Pack(t, "cleaner", "1.0.0", theirs), "")
		if err := w.Distrust(t.Context(), "default", ours.Key().Fingerprint()); err != nil {
			t.Fatal(err)
		}
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.1", nil), "")
		if err := w.Distrust(t.Context(), "default", ours.Key().Fingerprint()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the same key again: %v", err)
		}
	})
}

// TestFilesAreShared: one file for the same bytes, as long as anybody has a record of it.
func TestFilesAreShared(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		content := packtest.Pack(t, "cleaner", "1.0.0", nil)
		p := w.publishes("default", content, "")
		w.publishes("other", content, "")
		if entries, err := os.ReadDir(depotDir(t, w)); err != nil || len(entries) != 1 {
			t.Errorf("%d files of one package in two organisations, %v", len(entries), err)
		}
		there := func(want bool) {
			t.Helper()
			f, err := w.depot.File(p.Digest)
			if err == nil {
				f.Close()
			}
			if (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file: %v, want it there: %v", err, want)
			}
		}
		if err := w.RemovePackage(t.Context(), "default", "cleaner", "1.0.0"); err != nil {
			t.Fatal(err)
		}
		there(true)
		if err := w.SweepPackages(t.Context()); err != nil {
			t.Fatal(err)
		}
		there(true)
		if err := w.RemovePackage(t.Context(), "other", "cleaner", "1.0.0"); err != nil {
			t.Fatal(err)
		}
		there(false)
		if err := w.RemovePackage(t.Context(), "other", "cleaner", "1.0.0"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("removing it again: %v", err)
		}
		in, err := w.depot.Receive(bytes.NewReader(content), 1<<20) // as a crash before the record leaves it
		if err != nil || in.Keep() != nil {
			t.Fatal(err)
		}
		there(true)
		if err := w.SweepPackages(t.Context()); err != nil {
			t.Fatal(err)
		}
		there(false)
	})
}
