package pyenv

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// sdist is a source package that builds itself, without another, after it ran first.
func sdist(t *testing.T, name, version, first string) (file string, content []byte) {
	t.Helper()
	backend := first + `
import base64, os
def get_requires_for_build_wheel(settings=None):
    return []
def build_wheel(directory, settings=None, metadata=None):
    with open(os.path.join(directory, FILE), "wb") as f:
        f.write(base64.b64decode(WHEEL))
    return FILE
`
	w := wheeltest.Wheel{Name: name, Version: version}
	backend += fmt.Sprintf("FILE = %q\nWHEEL = %q\n", filepath.Base(w.File()), base64.StdEncoding.EncodeToString(w.Bytes(t)))
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	a := tar.NewWriter(z)
	for path, text := range map[string]string{
		"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n", "backend.py": backend,
		"PKG-INFO": fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version),
	} {
		err := a.WriteHeader(&tar.Header{Name: name + "-" + version + "/" + path, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = a.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return "wheels/" + name + "-" + version + ".tar.gz", out.Bytes()
}

// refuse prepares and gives the message of the error that there must be, and makes sure
// that nothing is left of the build.
func (w *workshop) refuse(p *plugin.Plugin) string {
	w.t.Helper()
	_, err := w.Prepare(w.t.Context(), p, nil)
	if err == nil {
		w.t.Errorf("%s was prepared", p.ID)
		return ""
	}
	if left := w.left(); len(left) != 0 {
		w.t.Errorf("%s: the build left %v", p.ID, left)
	}
	return err.Error()
}

func (w *workshop) wantRefusal(p *plugin.Plugin, parts ...string) {
	w.t.Helper()
	message := w.refuse(p)
	for _, part := range parts {
		if !strings.Contains(message, part) {
			w.t.Errorf("%s: message lacks %q: %s", p.ID, part, message)
		}
	}
}

func TestAFailedInstallSaysWhichRequirementWhyAndWhatToDo(t *testing.T) {
	w := newWorkshop(t)
	good := wheeltest.Wheel{Name: "good", Version: "1.0"}
	future := wheeltest.Wheel{Name: "future", Version: "1.0", Python: ">=3.99"}
	foreign := wheeltest.Wheel{Name: "foreign", Version: "1.0", Tag: "cp39-cp39-win_amd64"}
	needy := wheeltest.Wheel{Name: "needy", Version: "1.0", Requires: []string{"nowhere>=2"}}
	fighter := wheeltest.Wheel{Name: "fighter", Version: "1.0", Requires: []string{"good<1.0"}}
	file, source := sdist(t, "sourced", "1.0", "")
	brought := with(t, "sourced==1.0\n")
	brought[file] = source
	old := wheeltest.Wheel{Name: "good", Version: "0.9"}
	for id, c := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"missing":    {with(t, "good\nno-such-package==1.0\n", good), []string{"requirements.txt:2: no-such-package==1.0: there is no wheel of it in the plugin's wheels/", "plugins.python.index_url"}},
		"version":    {with(t, "good==2.0\n", good), []string{"requirements.txt:1: good==2.0: there are other versions (1.0)"}},
		"transitive": {with(t, "needy\n", needy), []string{"needy requires nowhere>=2: there is no wheel of it"}},
		"hash":       {with(t, "good==1.0 --hash=sha256:"+strings.Repeat("0", 64)+"\n", good), []string{"requirements.txt:1: good==1.0 has the hash", good.Hash(t)[7:23], "want 0000"}},
		"unhashed":   {with(t, "good==1.0 --hash="+good.Hash(t)+"\nneedy==1.0\n", good, needy), []string{"requirements.txt:2: needy==1.0 has no hash", "--generate-hashes"}},
		"python":     {with(t, "future\n", future), []string{"future needs Python >=3.99", "runtime.version"}},
		"platform":   {with(t, "foreign==1.0\n", foreign), []string{"foreign-1.0-cp39-cp39-win_amd64.whl is not for Python", "--only-binary"}},
		"source":     {brought, []string{"requirements.txt:1: sourced==1.0: sourced-1.0.tar.gz is a source package", "plugins.python.allow_sdist"}},
		"conflict":   {with(t, "good==1.0\nfighter==1.0\n", good, old, fighter), []string{"do not go together", "fighter 1.0 depends on good<1.0", "change a version"}},
		"syntax":     {with(t, "good==1.0\n\n# next\ngood==\n", good), []string{"requirements.txt:4", "is not a requirement", "name==1.2.3"}},
		"broken":     {map[string][]byte{"requirements.txt": []byte("junk"), "wheels/junk-1.0-py3-none-any.whl": []byte("not a zip file")}, []string{"junk", "wheel"}},
	} {
		t.Run(id, func(t *testing.T) { w.wantRefusal(w.plugin(id, c.files), append(c.want, "prepare Python for "+id)...) })
	}
}

// Where the host had no room it is not the version that is refused, and the versions of pip say so
// in different words; a package cannot say so.
func TestOnlyPipSaysThatThereIsNoRoom(t *testing.T) {
	const none = "[Errno 28] No space left on device"
	for output, want := range map[string]bool{
		"Installing collected packages: one\nERROR: Could not install packages due to an OSError: " + none + ": '/x'\n":    true,
		"ERROR: Could not install packages due to an EnvironmentError: " + none + "\n":                                     true,
		"ERROR: Exception:\nTraceback (most recent call last):\n  f.write(x)\nOSError: " + none + "\n":                     true,
		"ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded: '/x'\n":                     true,
		"ERROR: Could not install packages due to an OSError: [Errno 69] Disk quota exceeded: '/x'\n":                      true, // macOS
		"ERROR: Could not install packages due to an OSError: [WinError 112] There is not enough space on the disk: 'C'\n": true,
		"ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'Disk quota exceeded'\n":      false,
		"error: subprocess-exited-with-error\n      OSError: " + none + "\nFailed to build one\n":                          false,
		"ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '" + none + "'\n":              false,
	} {
		if err := (&failure{output: output}).explain(&recipe{}); errors.Is(err, syscall.ENOSPC) != want {
			t.Errorf("%s\nis %v", output, err)
		}
	}
}

func TestRequirementsOfAPluginNameNoPlaces(t *testing.T) {
	w := newWorkshop(t)
	for text, want := range map[string]string{
		"-e .":                                  "requirements.txt:1: an editable requirement",
		"git+https://example.com/x.git":         "requirements.txt:1: a requirement by its place",
		"x @ https://example.com/x.whl":         "a requirement by its place",
		"x @ file:///etc/x.whl":                 "a requirement by its place",
		"./wheels/x.whl":                        "a requirement by its place",
		`C:\x.whl`:                              "a requirement by its place",
		"..":                                    "a requirement by its place",
		"-r ../other.txt":                       "leads out of the plugin's directory",
		"-c /etc/passwd":                        "leads out of the plugin's directory",
		"-r link.txt":                           "link.txt",
		"-r none.txt":                           "none.txt",
		"--global-option=x":                     "is not an option",
		"x==1 --global-option=--x":              "the only option that a requirement can have is --hash",
		"x==1 --config-settings a=b --hash=x:y": "the only option that a requirement can have is --hash",
		"x y":                                   "is not a requirement",
		"$(touch x)":                            "is not a requirement",
		"x==1 \\\n # c \\\n --hash=sha256:0\n;": "",
	} {
		p := w.plugin("p", with(t, text+"\n"))
		if err := os.Remove(filepath.Join(p.Dir, "link.txt")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/hostname", filepath.Join(p.Dir, "link.txt")); err != nil {
			t.Skip(err)
		}
		w.wantRefusal(p, want)
	}
}

func TestRequirementsIncludeOthersAndIgnoreIndexes(t *testing.T) {
	w := newWorkshop(t)
	files := with(t, "--index-url https://user:secret@example.com/simple\n-r more/base.txt\n-c limits.txt\n--no-binary :all:\n",
		wheeltest.Wheel{Name: "one", Version: "1.0"}, wheeltest.Wheel{Name: "one", Version: "2.0"})
	files["more/base.txt"] = []byte("-r ../more/base.txt\r\none ; python_version >= '3' # why\r\n")
	files["limits.txt"] = []byte("one<2\n")
	var said []string
	p := w.plugin("p", files)
	i, err := w.Prepare(t.Context(), p, func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	if got := w.run(i, p, "import one; print(one.VERSION)"); got != "1.0" {
		t.Errorf("the constraint does not hold: %s", got)
	}
	all := strings.Join(said, "\n")
	if !strings.Contains(all, "requirements.txt:1: --index-url is ignored") || strings.Contains(all, "secret") {
		t.Errorf("progress: %s", all)
	}
}

func TestSourcePackagesAreBuiltOnlyWhereAllowedAndThenInTheSandbox(t *testing.T) {
	w := newWorkshop(t, func(o *Options) { o.Policy.AllowSdist = true })
	victim := filepath.Join(w.base, "victim")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, source := sdist(t, "sourced", "1.0", fmt.Sprintf(`
import socket
tried = []
for attempt in [lambda: open(%q, "w").close(), lambda: socket.create_connection(("127.0.0.1", %d), 2)]:
    try:
        attempt()
        tried.append("done")
    except OSError:
        tried.append("refused")
print("attempts:", tried)
`, victim, listener.Addr().(*net.TCPAddr).Port))
	files := with(t, "sourced\n")
	files[file] = source
	p := w.plugin("p", files)
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
	if got := w.run(i, p, "import sourced; print(sourced.VERSION)"); got != "1.0" {
		t.Errorf("imports %q", got)
	}
	if !w.level.AtLeast(sandbox.Confined) {
		return // which files it writes nothing holds
	}
	if _, err := os.Stat(victim); err == nil {
		t.Error("the build wrote outside of its directory")
	}
	listener.(*net.TCPListener).SetDeadline(time.Now())
	if c, err := listener.Accept(); err == nil {
		c.Close()
		t.Error("the build reached the network")
	}
}

func TestABuildThatTakesTooMuchIsEnded(t *testing.T) {
	for name, c := range map[string]struct{ code, want string }{
		"time":      {"import time; time.sleep(600)", "it ran into its time limit"},
		"memory":    {"x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1\nimport time; time.sleep(600)", "it took more memory than its limit"},
		"disk":      {"import time\nfor i in range(30): open('big%d' % i, 'wb').write(b'x' * (10 << 20))\ntime.sleep(600)", "it stored more than its limit"},
		"processes": {"import os, time\nfor i in range(100):\n    if os.fork() == 0: time.sleep(600)\ntime.sleep(600)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, func(o *Options) {
				o.Policy.AllowSdist = true
				o.Limits = sandbox.Limits{Time: 20 * time.Second, Memory: 400 << 20, TempSize: 50 << 20, TempFiles: 10_000, Processes: 40, OpenFiles: 256}
				if name == "time" {
					o.Limits.Time = 3 * time.Second
				}
			})
			file, source := sdist(t, "greedy", "1.0", c.code)
			files := with(t, "greedy==1.0\n")
			files[file] = source
			began := time.Now()
			w.wantRefusal(w.plugin("p", files), "greedy==1.0", c.want)
			if took := time.Since(began); took > 40*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestInterpreterThatFits(t *testing.T) {
	w := newWorkshop(t)
	first, err := w.o.Interpreters.First(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fake := func(version string) string {
		path := filepath.Join(t.TempDir(), "python3")
		answer := fmt.Sprintf(`{"path": %q, "version": %q, "prefix": ["/usr"], "base": %[1]q}`, path, version)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+answer+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	older, newer := fake("3.9.1"), fake("3.77.2")
	all := NewInterpreters(first.Path, []string{older, "/no/such/python", newer})
	for version, want := range map[string]string{
		"": first.Version, "3.8+": first.Version, "<3.10, !=" + first.Version: "3.9.1", ">=3.70": "3.77.2", ">=3.8, !=" + first.Version: "3.77.2",
	} {
		if i, err := all.For(t.Context(), plugin.Runtime{Version: version}); err != nil || i.Version != want {
			t.Errorf("%q: %s, %v; want %s", version, i.Version, err, want)
		}
	}
	_, err = all.For(t.Context(), plugin.Runtime{Version: "4.0+"})
	for _, part := range []string{"needs Python 4.0+", first.Version, "3.9.1 (" + older, "3.77.2", "plugins.python.interpreters"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q: %v", part, err)
		}
	}
	none := NewInterpreters("/no/such/python", []string{"/no/such/python"})
	if _, err := none.For(t.Context(), plugin.Runtime{}); err == nil || !strings.Contains(err.Error(), "needs Python, and there is none") {
		t.Errorf("without any: %v", err)
	}
}

func TestAHostWithoutPipSaysWhatToInstall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '{\"modules\": [], \"wheels\": [\"/no/such/pip-1.whl\"]}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for base, want := range map[string]string{path: path + " -m ensurepip", "/usr/bin/python3.11": "install"} {
		_, err := findInstaller(t.Context(), Interpreter{Path: path, Base: base}, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "has no pip") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", base, err, want)
		}
	}
}

// A host may have pip as a wheel only, as Debian's python3-venv brings it.
func TestPipFromAWheel(t *testing.T) {
	wheels, err := filepath.Glob("/usr/share/python-wheels/pip-*.whl")
	if err != nil || len(wheels) == 0 {
		t.Skip("this host has no wheel of pip")
	}
	w := newWorkshop(t)
	first, err := w.o.Interpreters.First(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "python3") // of which only pip's search differs
	script := fmt.Sprintf("#!/bin/sh\ncase \"$3\" in *modules*) echo '{\"modules\": [], \"wheels\": [%q]}';; *) exec %s \"$@\";; esac\n", wheels[0], first.Path)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	base := first
	base.Path = path
	w.o.Interpreters.first = &base
	p := w.plugin("p", with(t, "one\n", wheeltest.Wheel{Name: "one", Version: "1.0"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
	if got := w.run(i, p, "import one; print(one.VERSION)"); got != "1.0" {
		t.Errorf("imports %q", got)
	}
}

func TestABuildThatIsCancelledLeavesNothing(t *testing.T) {
	w := newWorkshop(t)
	p := w.plugin("p", with(t, "one\n", wheeltest.Wheel{Name: "one", Version: "1.0"}))
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	_, err := w.Prepare(ctx, p, func(what string) {
		if strings.HasPrefix(what, "taking") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(w.left()) != 0 || time.Since(began) > time.Minute {
		t.Errorf("%v after %v; left %v", err, time.Since(began), w.left())
	}
	if _, err := w.Prepare(t.Context(), p, nil); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
