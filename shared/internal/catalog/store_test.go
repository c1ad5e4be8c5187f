package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// aside puts a plugin's files where the store takes them from.
func aside(t *testing.T, s *Store, id, version string) string {
	t.Helper()
	dir, err := s.Aside()
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, plugin.ManifestName, manifest(id, version, ""))
	put(t, dir, "main.py", "print('"+version+"')")
	put(t, dir, "lib/deep/x.py", "pass")
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, s *Store, id, version string) Version {
	t.Helper()
	v, err := s.Add(t.Context(), aside(t, s, id, version), Origin{Kind: FromPackage, From: "/tmp/x.tar.gz"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func activate(t *testing.T, s *Store, v Version) {
	t.Helper()
	if p, err := s.Activate(t.Context(), v.ID, v.Name, nil); err != nil || p.Dir != v.Dir || p.Version != v.Version {
		t.Fatalf("activate %s: %+v, %v", v.Name, p, err)
	}
}

// active is the version that the plugin has after the store is opened anew.
func active(t *testing.T, dir string, id api.PluginID) string {
	t.Helper()
	e := open(t, dir).Entry(id)
	v, _ := e.Of(e.Active)
	return v.Version
}

func nobody(string) bool { return false }

func TestLifeOfAVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one := add(t, s, "disk", "1.0.0")
	if e := s.Entry("disk"); e.Active != "" || len(e.Versions) != 1 {
		t.Errorf("an added version is used at once: %+v", e)
	}
	activate(t, s, one)
	if err := s.Prove("disk"); err != nil {
		t.Fatal(err)
	}
	two := add(t, s, "disk", "2.0.0")
	why := errors.New("does not start")
	if _, err := s.Activate(t.Context(), "disk", two.Name, func(context.Context, *plugin.Plugin) error { return why }); !errors.Is(err, why) {
		t.Errorf("a version that does not load: %v", err)
	}
	if got := active(t, dir, "disk"); got != "1.0.0" {
		t.Errorf("then %s is used, want 1.0.0", got)
	}
	activate(t, s, two)
	if e := s.Entry("disk"); e.LastGood != one.Name {
		t.Errorf("last good is %q, want %q", e.LastGood, one.Name)
	}
	if err := s.Prove("disk"); err != nil {
		t.Fatal(err)
	}
	three := add(t, s, "disk", "3.0.0")
	activate(t, s, three)
	if err := s.Fail("disk", three.Name, "broke"); err != nil {
		t.Fatal(err)
	}
	if e := s.Entry("disk"); e.LastGood != two.Name {
		t.Errorf("last good is %q, want the version before, %q", e.LastGood, two.Name)
	}
	activate(t, s, two)
	if n, err := s.Collect(func(dir string) bool { return dir == three.Dir }); n != 0 || err != nil {
		t.Errorf("collected %d, %v: want none, 3.0.0 runs and 1.0.0 is last good", n, err)
	}
	if n, err := s.Collect(nobody); n != 1 || err != nil {
		t.Errorf("collected %d, %v; want 3.0.0", n, err)
	}
	if e := open(t, dir).Entry("disk"); e.LastGood != one.Name || e.Active != two.Name || e.Versions[0].Origin.From != "/tmp/x.tar.gz" {
		t.Errorf("after a start: %+v", e)
	}
	if err := s.SetEnabled("disk", false); err != nil || !open(t, dir).Entry("disk").Disabled {
		t.Errorf("disabled: %v", err)
	}
	if err := s.Remove("disk"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Collect(nobody); n != 2 || err != nil || len(s.Entries()) > 0 {
		t.Errorf("collected %d, %v, left %v; want nothing left", n, err, s.Entries())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// The version that was active before is kept, whether it proved itself or not, unless it
// failed.
func TestTheVersionBefore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one, two := add(t, s, "disk", "1.0.0"), add(t, s, "disk", "2.0.0")
	activate(t, s, one)
	activate(t, s, two)
	if n, err := s.Collect(nobody); n != 0 || err != nil {
		t.Errorf("collected %d, %v", n, err)
	}
	if e := open(t, dir).Entry("disk"); e.Previous != one.Name || e.LastGood != "" {
		t.Errorf("before it was %q, and %q is good", e.Previous, e.LastGood)
	}
	if err := s.Fail("disk", one.Name, "broke"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Collect(nobody); n != 1 || err != nil || s.Entry("disk").Previous != "" {
		t.Errorf("collected %d, %v; want the one that failed", n, err)
	}
}

// What is in the store is what was added, readable for a plugin's own user, or it is
// not used.
func TestATreeDoesNotChange(t *testing.T) {
	s := open(t, t.TempDir())
	v := add(t, s, "disk", "1.0.0")
	if runtime.GOOS != "windows" {
		for name, want := range map[string]fs.FileMode{"": 0o755, "main.py": 0o644, "lib/deep": 0o755} {
			if info, err := os.Stat(filepath.Join(v.Dir, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%q has mode %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
	}
	put(t, v.Dir, "main.py", "print('another')")
	if _, err := s.Activate(t.Context(), "disk", v.Name, nil); err == nil || !strings.Contains(err.Error(), "install it again") {
		t.Errorf("an altered tree: %v", err)
	}
	again := add(t, s, "disk", "1.0.0")
	activate(t, s, again)
	if again.Dir != v.Dir {
		t.Errorf("installed again in %s, want %s", again.Dir, v.Dir)
	}
}

func TestWhatIsNoPlaceForAVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, dir, "disk/plugin.yaml", manifest("disk", "1.0.0", ""))
	if _, err := s.Add(t.Context(), aside(t, s, "disk", "1.0.0"), Origin{}); err == nil || !strings.Contains(err.Error(), "is a plugin of its own: move it") {
		t.Errorf("into a directory that is edited: %v", err)
	}
	put(t, dir, "cpu", "a file")
	if _, err := s.Add(t.Context(), aside(t, s, "cpu", "1.0.0"), Origin{}); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("into a file: %v", err)
	}
	outside := t.TempDir()
	if runtime.GOOS != "windows" {
		if err := os.Symlink(outside, filepath.Join(dir, "net")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(t.Context(), aside(t, s, "net", "1.0.0"), Origin{}); err == nil || !strings.Contains(err.Error(), "in the way") {
			t.Errorf("through a link: %v", err)
		}
	}
	for _, id := range []string{"../x", "-o", "", ".", "a/b", "A"} {
		_, activating := s.Activate(t.Context(), api.PluginID(id), "1.0.0-0123456789ab", nil)
		for what, err := range map[string]error{"activate": activating, "remove": s.Remove(api.PluginID(id)), "disable": s.SetEnabled(api.PluginID(id), false), "prove": s.Prove(api.PluginID(id))} {
			if err == nil || !strings.Contains(err.Error(), "plugin id") {
				t.Errorf("%s %q: %v", what, id, err)
			}
		}
		if _, err := s.Add(t.Context(), aside(t, s, id, "1.0.0"), Origin{}); err == nil {
			t.Errorf("added %q", id)
		}
	}
	v := add(t, s, "good", "1.0.0")
	for _, name := range []string{"../" + v.Name, "..", "active", ""} {
		if _, err := s.Activate(t.Context(), "good", name, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("activate %q: %v", name, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside stands %v, %v", left, err)
	}
}

// died ends a change where a crash does.
type died struct{}

// life goes through every change that there is, and tells after each which versions
// may be active from then on.
func life(t *testing.T, s *Store, may func(versions ...string)) {
	step := func(from, to string, change func() error) {
		may(from, to)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		may(to)
	}
	var added []Version
	install := func(from, version string) {
		step(from, version, func() error {
			added = append(added, add(t, s, "disk", version))
			activate(t, s, added[len(added)-1])
			return nil
		})
	}
	install("", "1.0.0")
	step("1.0.0", "1.0.0", func() error { return s.Prove("disk") })
	install("1.0.0", "2.0.0")
	step("2.0.0", "2.0.0", func() error { return s.Prove("disk") })
	install("2.0.0", "3.0.0")
	step("3.0.0", "2.0.0", func() error {
		if err := s.Fail("disk", added[2].Name, "broke"); err != nil {
			return err
		}
		activate(t, s, added[1])
		return nil
	})
	collect := func() error { _, err := s.Collect(nobody); return err }
	step("2.0.0", "2.0.0", collect)
	step("2.0.0", "2.0.0", func() error { return s.SetEnabled("disk", false) })
	step("2.0.0", "", func() error { return s.Remove("disk") })
	step("", "", collect)
}

// An agent that is killed between any two steps of any change finds, at the next start,
// the version from before or the one after, whole, and nothing else is left.
func TestACrashBetweenAnyTwoSteps(t *testing.T) {
	for n := 0; ; n++ {
		dir := t.TempDir()
		s := open(t, dir)
		var allowed []string
		left, step := n, ""
		s.at = func(name string) {
			if left--; left < 0 {
				step = name
				panic(died{})
			}
		}
		crashed := func() (crashed bool) {
			defer func() {
				if r := recover(); r != nil {
					crashed = r == any(died{})
				}
			}()
			life(t, s, func(versions ...string) { allowed = versions })
			return false
		}()
		if !crashed {
			if n < 20 {
				t.Errorf("only %d steps were seen", n)
			}
			return
		}
		after := open(t, dir)
		e := after.Entry("disk")
		v, found := e.Of(e.Active)
		if !slices.Contains(allowed, v.Version) || e.Damage != "" {
			t.Errorf("killed at %q (%d): %q is active, want one of %q; damage %q", step, n, v.Version, allowed, e.Damage)
		}
		if found {
			if p, err := Load(v); err != nil || p.Version != v.Version {
				t.Errorf("killed at %q (%d): %v", step, n, err)
			}
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("killed at %q (%d): left %v", step, n, left)
		}
		if _, err := after.Collect(nobody); err != nil {
			t.Errorf("killed at %q (%d): %v", step, n, err)
		}
		if trees, err := filepath.Glob(filepath.Join(dir, "disk", "*-*")); err != nil || len(trees) > 2 {
			t.Errorf("killed at %q (%d): trees %v", step, n, trees)
		}
		life(t, open(t, dir), func(...string) {}) // and all goes on
	}
}

// A state that this process did not write is not believed; what runs goes on.
func TestADamagedState(t *testing.T) {
	good := fmt.Sprintf(`{"name": "1.0.0-%.12s", "version": "1.0.0", "digest": "sha256:%s", "origin": {"kind": "git"}, "added": "2026-01-02T03:04:05.000Z"}`, hex64, hex64)
	for what, text := range map[string]string{
		"empty":     "",
		"cut":       `{"format": 1, "vers`,
		"future":    `{"format": 2, "versions": []}`,
		"unknown":   `{"format": 1, "versions": [], "extra": 1}`,
		"deep":      strings.Repeat("[", 1000),
		"long":      `{"format": 1, "versions": []}` + strings.Repeat(" ", maxState),
		"twice":     `{"format": 1, "versions": [` + good + `,` + good + `]}`,
		"a path":    `{"format": 1, "versions": [` + strings.Replace(good, `"1.0.0-`, `"../x-`, 1) + `]}`,
		"no digest": `{"format": 1, "versions": [{"name": "x", "version": "1.0.0"}]}`,
		"no good":   `{"format": 1, "versions": [], "good": ["1.0.0-0123456789ab"]}`,
	} {
		dir := t.TempDir()
		s := open(t, dir)
		v := add(t, s, "disk", "1.0.0")
		activate(t, s, v)
		put(t, dir, "disk/state.json", text)
		e := open(t, dir).Entry("disk")
		if e.Active != v.Name || !strings.Contains(e.Damage, "cannot be read") || len(e.Versions) != 1 || e.Versions[0].Origin.Kind != FromUnknown {
			t.Errorf("%s: %+v", what, e)
		}
		if _, err := os.Stat(filepath.Join(dir, "disk", "state.json.bad")); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if e := open(t, dir).Entry("disk"); e.Damage != "" || e.Active != v.Name {
			t.Errorf("%s, at the start after that: %+v", what, e)
		}
	}
}

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// A link that leads nowhere, or out, is not followed.
func TestADamagedLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("active is a file there")
	}
	for _, target := range []string{"../../etc", "/etc", "9.9.9-0123456789ab", "."} {
		dir := t.TempDir()
		s := open(t, dir)
		one := add(t, s, "disk", "1.0.0")
		activate(t, s, one)
		if err := s.Prove("disk"); err != nil {
			t.Fatal(err)
		}
		two := add(t, s, "disk", "2.0.0")
		activate(t, s, two)
		link := filepath.Join(dir, "disk", activeName)
		if err := errors.Join(os.Remove(link), os.Symlink(target, link)); err != nil {
			t.Fatal(err)
		}
		e := open(t, dir).Entry("disk")
		if e.Active != one.Name || !strings.Contains(e.Damage, "is used again") || active(t, dir, "disk") != "1.0.0" {
			t.Errorf("%s: %+v", target, e)
		}
	}
}

func TestCopy(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links take a privilege there")
	}
	from := t.TempDir()
	put(t, from, plugin.ManifestName, manifest("disk", "1.0.0", ""))
	put(t, from, "main.py", "pass")
	put(t, from, "bin/tool", "#!")
	put(t, from, ".git/config", "x")
	put(t, from, "lib/__pycache__/x.pyc", "x")
	if err := errors.Join(os.Chmod(filepath.Join(from, "bin/tool"), 0o700), os.Symlink("../main.py", filepath.Join(from, "lib", "m.py"))); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	a, _, errA := plugin.Load(from)
	b, _, errB := plugin.Load(to)
	if errA != nil || errB != nil || a.Digest != b.Digest {
		t.Errorf("the copy is another plugin: %v, %v, %v, %v", a, b, errA, errB)
	}
	if left, err := filepath.Glob(filepath.Join(to, ".git")); err != nil || len(left) > 0 {
		t.Error("what does not count was copied")
	}
	for _, out := range []string{"/etc/passwd", "../../x", "lib/../../y"} {
		link := filepath.Join(from, "out")
		if err := os.Symlink(out, link); err != nil {
			t.Fatal(err)
		}
		if err := Copy(t.Context(), from, t.TempDir()); err == nil || !strings.Contains(err.Error(), "out leads out of the plugin") {
			t.Errorf("%s: %v", out, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}
