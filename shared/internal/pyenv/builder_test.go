package pyenv

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/internal/sandbox"
)

// offline bounds what preparing an environment may take without an index. It is far
// less here; the figure is printed.
const offline = 5 * time.Second

func TestTwoVersionsOfOneRequirementLiveSideBySide(t *testing.T) {
	w := newWorkshop(t)
	dependency := wheeltest.Wheel{Name: "depended", Version: "0.3"}
	for _, version := range []string{"1.0", "2.0"} {
		third := wheeltest.Wheel{Name: "third_party", Version: version, Requires: []string{"depended>=0.2"}}
		p := w.plugin("v"+version[:1], with(t, "Third-Party == "+version+"  # the one\n", third, dependency))
		began := time.Now()
		i, err := w.Prepare(t.Context(), p, nil)
		took := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("prepared offline from wheels in %v", took)
		if took > offline {
			t.Errorf("took %v, at most %v", took, offline)
		}
		if got := w.run(i, p, "import third_party, depended; print(third_party.VERSION, depended.VERSION)"); got != version+" 0.3" {
			t.Errorf("the plugin imports %q, want %s and 0.3", got, version)
		}
		e, err := w.Environment(i.Environment)
		if err != nil || len(e.Packages) != 2 || e.Packages[1] != (Package{"third_party", version}) || e.Key != i.Environment {
			t.Errorf("environment: %+v, %v", e, err)
		}
	}
	if n := len(w.left()); n != 2 {
		t.Errorf("%d environments, want 2: %v", n, w.left())
	}
}

// Where there are no namespaces the sandbox refuses calls that pip makes.
func TestBuildsAtEveryLevel(t *testing.T) {
	for _, level := range []sandbox.Level{sandbox.Confined, sandbox.Limited, sandbox.None} {
		t.Run(string(level), func(t *testing.T) {
			w := newWorkshop(t, func(o *Options) {
				o.Policy.AllowSdist = true
				confine := o.Confine
				o.Confine = func(ctx context.Context, s *sandbox.Spec, online bool) (func() error, error) {
					defer func() { s.Level = level }()
					return confine(ctx, s, online)
				}
			})
			if !w.level.AtLeast(level) {
				t.Skip("this host does not give it")
			}
			file, source := sdist(t, "sourced", "1.0", "")
			files := with(t, "sourced\none\n", wheeltest.Wheel{Name: "one", Version: "1.0", EntryPoints: "[console_scripts]\none = one:main\n"})
			files[file] = source
			p := w.plugin("p", files)
			i, err := w.Prepare(t.Context(), p, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, w.log)
			}
			if got := w.run(i, p, "import one, sourced; print(one.VERSION, sourced.VERSION)"); got != "1.0 1.0" {
				t.Errorf("imports %q", got)
			}
		})
	}
}

func TestEqualRequirementsShareOneEnvironment(t *testing.T) {
	w := newWorkshop(t)
	big := wheeltest.Wheel{Name: "big", Version: "1.0", Files: map[string]string{"data.txt": strings.Repeat("x", 1<<20)}}
	files := with(t, "big==1.0\n", big)
	const plugins = 10
	paths := make([]string, plugins)
	var one int64
	for n := range plugins {
		i, err := w.Prepare(t.Context(), w.plugin("p"+string(rune('a'+n)), files), nil)
		if err != nil {
			t.Fatal(err)
		}
		paths[n] = i.Path
		if n == 0 {
			one = diskOf(t, w.o.Dir)
		}
	}
	all := diskOf(t, w.o.Dir)
	t.Logf("one plugin's environment takes %d bytes, those of %d take %d", one, plugins, all)
	if all > one*11/10 || one < 1<<20 {
		t.Errorf("%d plugins take %d bytes, one takes %d", plugins, all, one)
	}
	for _, path := range paths {
		if path != paths[0] {
			t.Errorf("%s and %s differ", path, paths[0])
		}
	}
}

func diskOf(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func TestManyAtOnceBuildOnce(t *testing.T) {
	w := newWorkshop(t)
	files := with(t, "one==1.0\n", wheeltest.Wheel{Name: "one", Version: "1.0"})
	var builds, done sync.WaitGroup
	var mu sync.Mutex
	installing := 0
	for n := range 8 {
		p := w.plugin("p"+string(rune('a'+n)), files)
		builds.Go(func() {
			_, err := w.Prepare(t.Context(), p, func(what string) {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(what, "installing") {
					installing++
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	builds.Wait()
	done.Wait()
	if installing != 1 || len(w.left()) != 1 {
		t.Errorf("installed %d times, want once: %v", installing, w.left())
	}
	if len(w.building) != 0 {
		t.Errorf("%d turns are left", len(w.building))
	}
}

func TestWheelDirectoryOfTheHost(t *testing.T) {
	dir := t.TempDir()
	w := newWorkshop(t, func(o *Options) { o.Policy.WheelDir = dir })
	hosts := wheeltest.Wheel{Name: "hosts", Version: "1.0"}
	put(t, filepath.Join(dir, filepath.Base(hosts.File())), hosts.Bytes(t))
	p := w.plugin("p", with(t, "hosts\nown\n", wheeltest.Wheel{Name: "own", Version: "3.0"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.run(i, p, "import hosts, own; print(hosts.VERSION, own.VERSION)"); got != "1.0 3.0" {
		t.Errorf("imports %q", got)
	}
	w2 := newWorkshop(t, func(o *Options) { o.Policy.WheelDir = filepath.Join(dir, "none") })
	if _, err := w2.Prepare(t.Context(), w2.plugin("p", with(t, "own\n")), nil); err == nil || !strings.Contains(err.Error(), "plugins.python.wheel_dir") {
		t.Errorf("without the directory: %v", err)
	}
}

func TestHashesThatAreRight(t *testing.T) {
	w := newWorkshop(t)
	good := wheeltest.Wheel{Name: "hashed", Version: "1.0"}
	p := w.plugin("p", with(t, "hashed==1.0 \\\n    --hash="+good.Hash(t)+"\n", good))
	if _, err := w.Prepare(t.Context(), p, nil); err != nil {
		t.Error(err)
	}
}

func TestWhatInstallingMakesFitsItsPlace(t *testing.T) {
	w := newWorkshop(t)
	p := w.plugin("p", with(t, "tool\n", wheeltest.Wheel{Name: "tool", Version: "1.0", EntryPoints: "[console_scripts]\ntool = tool:main\n"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.o.Dir, i.Environment)
	script, err := os.ReadFile(filepath.Join(dir, scriptsIn, "tool"))
	if err != nil || !strings.Contains(string(script), i.Path) || strings.Contains(string(script), w.o.Dir+"/.") {
		t.Errorf("the script does not begin with %s: %q, %v", i.Path, script, err)
	}
	code := w.run(i, p, "import tool; print(tool.__cached__); print(tool.__loader__.get_code('tool').co_filename)")
	cached, file, _ := strings.Cut(code, "\n")
	if _, err := os.Stat(cached); err != nil {
		t.Errorf("is not compiled: %v", err)
	}
	if !strings.HasPrefix(file, dir) {
		t.Errorf("tracebacks would name %s", file)
	}
	if _, err := os.Stat(filepath.Join(dir, workDir)); err == nil {
		t.Error("the build's files are left")
	}
}

func TestSystemPackagesOnlyWhereTheyAreAllowed(t *testing.T) {
	w := newWorkshop(t)
	base, err := w.o.Interpreters.First(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	system := systemPackage(t, base)
	p := w.plugin("p", with(t, system+"\n"))
	if _, err := w.Prepare(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), system) {
		t.Errorf("a package of the system met a requirement: %v", err)
	}
	bare := w.plugin("bare", nil)
	i, err := w.Prepare(t.Context(), bare, nil)
	if err != nil {
		t.Fatal(err)
	}
	probe := "import importlib.metadata as m\ntry:\n  print(m.version('" + system + "'))\nexcept m.PackageNotFoundError: print('none')"
	if got := w.run(i, bare, probe); got != "none" {
		t.Errorf("a plugin that does not say so sees %s %s of the system", system, got)
	}
	p.Runtime.SystemPackages, p.Digest = true, "other"
	i, err = w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := w.Environment(i.Environment); err != nil || len(e.Packages) != 0 || !e.System {
		t.Errorf("installed again what the system has: %+v, %v", e, err)
	}
	if got := w.run(i, p, probe); got == "none" {
		t.Errorf("the system's %s is not seen", system)
	}
	all := newWorkshop(t, func(o *Options) { o.Policy.SystemPackages = true })
	if _, err := all.Prepare(t.Context(), all.plugin("p", with(t, system+"\n")), nil); err != nil {
		t.Errorf("the owner allows it: %v", err)
	}
}

// systemPackage is the name of one that the system has.
func systemPackage(t *testing.T, base Interpreter) string {
	t.Helper()
	for _, dir := range base.Site {
		found, err := filepath.Glob(filepath.Join(dir, "*-info"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if name, _, ok := strings.Cut(filepath.Base(path), "-"); ok && strings.HasSuffix(path, ".dist-info") || name == "six" {
				return name
			}
		}
	}
	t.Skip("the system has no packages")
	return ""
}

func TestCollect(t *testing.T) {
	w := newWorkshop(t)
	var keys []string
	for _, version := range []string{"1.0", "2.0", "3.0"} {
		p := w.plugin("v"+version[:1], with(t, "one=="+version+"\n", wheeltest.Wheel{Name: "one", Version: version}))
		i, err := w.Prepare(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Environment)
	}
	if err := w.Collect(nil); err != nil || len(w.left()) != 3 {
		t.Errorf("collected what was just prepared: %v, %v", w.left(), err)
	}
	for _, key := range keys[:2] {
		long := time.Now().Add(-keepUnused)
		if err := os.Chtimes(filepath.Join(w.o.Dir, key, recordName), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Collect(keys[:1]); err != nil || len(w.left()) != 2 {
		t.Errorf("left %v, %v; want the one in use and the one that was just prepared", w.left(), err)
	}
	p := w.plugin("v2", with(t, "one==2.0\n", wheeltest.Wheel{Name: "one", Version: "2.0"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.run(i, p, "import one; print(one.VERSION)"); got != "2.0" {
		t.Errorf("after it was collected: %q", got)
	}
}

func TestWhatAKilledAgentLeftIsSweptAndWhatACrashDamagedIsBuiltAgain(t *testing.T) {
	w := newWorkshop(t)
	p := w.plugin("p", with(t, "one==1.0\n", wheeltest.Wheel{Name: "one", Version: "1.0"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(w.o.Dir, "."+strings.Repeat("a", keyLength-1))
	put(t, filepath.Join(half, "locked", "file"), nil)
	if err := os.Chmod(filepath.Join(half, "locked"), 0o500); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(w.o.Dir, "notes.txt"), nil)
	module := filepath.Join(w.o.Dir, i.Environment, filepath.FromSlash(i.Packages), "one.py")
	if err := os.Truncate(module, 0); err != nil {
		t.Fatal(err)
	}
	again, err := New(w.o)
	if err != nil {
		t.Fatal(err)
	}
	if left := strings.Join(w.left(), " "); left != i.Environment+" notes.txt" {
		t.Errorf("after a sweep: %s", left)
	}
	if _, err := again.Prepare(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(module); err != nil || len(text) == 0 {
		t.Errorf("the damaged environment was used: %q, %v", text, err)
	}
}
