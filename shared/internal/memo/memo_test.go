package memo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func all(t *testing.T, m *Memo) map[string]string {
	t.Helper()
	values, err := m.All()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for key, value := range values {
		out[key] = string(value)
	}
	return out
}

func keep(t *testing.T, m *Memo, key, value string) {
	t.Helper()
	if err := m.Set(key, json.RawMessage(value)); err != nil {
		t.Fatal(err)
	}
}

func TestValuesSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memo")
	m := In(dir).Of("disk", "root")
	if got := all(t, m); len(got) != 0 {
		t.Errorf("nothing was kept, and there is %v", got)
	}
	keep(t, m, "seen", "1")
	keep(t, m, "seen", "41")
	keep(t, m, "told", `["/"]`)
	keep(t, m, "gone", "null")
	if err := m.Delete("gone"); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete("never there"); err != nil {
		t.Error(err)
	}
	again := In(dir)
	if diff := cmp.Diff(map[string]string{"seen": "41", "told": `["/"]`}, all(t, again.Of("disk", "root"))); diff != "" {
		t.Error(diff)
	}
	if got := all(t, again.Of("disk", "srv")); len(got) != 0 {
		t.Errorf("another monitor sees %v", got)
	}
}

func TestADraftFindsAndChangesNothing(t *testing.T) {
	m := In(t.TempDir()).Of("disk", "root")
	keep(t, m, "seen", "1")
	draft := m.Draft()
	keep(t, draft, "seen", "2")
	if err := draft.Set("seen", json.RawMessage("{")); !errors.Is(err, ErrRefused) {
		t.Errorf("a draft takes what is no JSON: %v", err)
	}
	if err := draft.Delete("seen"); err != nil {
		t.Error(err)
	}
	if got := all(t, draft); got["seen"] != "1" {
		t.Errorf("a draft changed it to %v", got)
	}
}

// What is refused changes nothing.
func TestBounds(t *testing.T) {
	m := In(t.TempDir()).Of("disk", "root")
	keep(t, m, "a", "1")
	for name, c := range map[string]struct{ key, value, want string }{
		"no key":      {"", "1", "a key is text of 1 to 256 bytes"},
		"long key":    {strings.Repeat("k", 257), "1", "a key is text"},
		"not text":    {"\xff", "1", "a key is text"},
		"large value": {"b", `"` + strings.Repeat("x", 64<<10) + `"`, "at most 65536"},
		"no JSON":     {"b", "{", "it is not JSON"},
	} {
		if err := m.Set(c.key, json.RawMessage(c.value)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	var err error
	n := 0
	for ; err == nil && n < 20; n++ {
		err = m.Set(fmt.Sprint("large", n), json.RawMessage(`"`+strings.Repeat("x", 64<<10-2)+`"`))
	}
	if !errors.Is(err, ErrRefused) || n != 16 {
		t.Errorf("after %d values of 64 KiB: %v", n, err)
	}
	if got := all(t, m); len(got) != 16 || got["a"] != "1" {
		t.Errorf("%d values, a = %s", len(got), got["a"])
	}
}

func TestADamagedFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	m := In(dir).Of("disk", "root")
	keep(t, m, "a", "1")
	path := filepath.Join(dir, "disk", "root.json")
	if err := os.WriteFile(path, []byte(`{"a": `), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{m.Set("b", json.RawMessage("2")), m.Delete("a")} {
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it to begin with nothing") {
			t.Errorf("%v", err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != `{"a": ` {
		t.Errorf("the file was replaced by %s", text)
	}
	if err := os.WriteFile(path, []byte(`null`), 0o600); err != nil {
		t.Fatal(err)
	}
	keep(t, m, "b", "2")
}

func TestConcurrentChangesAreAllKept(t *testing.T) {
	memos := In(t.TempDir())
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := memos.Of("disk", "root").Set(fmt.Sprint(i), json.RawMessage("true")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := all(t, memos.Of("disk", "root")); len(got) != 16 {
		t.Errorf("%d of 16 changes were kept", len(got))
	}
}
