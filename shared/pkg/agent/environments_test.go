//go:build unix

package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/pkg/api"
)

// requiring is an action that says which version of its requirement it found.
const requiring = `type: action
runtime: {entry_point: main.py, contract: script, requirements: requirements.txt}
---
import json, third, sys
print(json.dumps({"third": third.VERSION, "prefix": sys.prefix}))
`

func TestPluginsHaveWhatTheyRequire(t *testing.T) {
	files := map[string]string{}
	for _, version := range []string{"1.0", "2.0"} {
		id := "v" + version[:1]
		w := wheeltest.Wheel{Name: "third", Version: version}
		files[id], files[id+"/requirements.txt"], files[id+"/"+w.File()] = requiring, "third=="+version+"\n", string(w.Bytes(t))
	}
	files["lacking"], files["lacking/requirements.txt"] = requiring, "\nthird==3.0\n"
	h := newHost(t, api.Action, files)
	for _, version := range []string{"1.0", "2.0"} {
		id := api.PluginID("v" + version[:1])
		got := h.Execute(t.Context(), h.order(id, nil))
		h.ended(got, api.Completed, "")
		if found := fields(t, got.Result, "third", "prefix"); found["third"] != `"`+version+`"` || !strings.Contains(found["prefix"], "data/cache/env/") {
			t.Errorf("%s runs with %v", id, found)
		}
		if d, err := h.Details(id); err != nil || !slices.Equal(d.Packages, []string{"third " + version}) || !strings.Contains(d.Environment, "data/cache/env/") {
			t.Errorf("show tells %+v, %v", d, err)
		}
	}
	want := "requirements.txt:2: third==3.0: there is no wheel of it in the plugin's wheels/"
	if _, err := h.Find("lacking"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Find: %v, want %s", err, want)
	}
	if c := condition(h.rt, "plugin_lacking"); c == nil || !strings.Contains(c.Message, want) {
		t.Errorf("condition %+v, want %s", c, want)
	}
	if !slices.ContainsFunc(h.Infos(), func(i api.PluginInfo) bool { return i.ID == "lacking" && strings.Contains(i.Message, want) }) {
		t.Errorf("heartbeats tell %+v", h.Infos())
	}
}

func TestAVersionWhosePackagesCannotBeHadLeavesTheOneInUse(t *testing.T) {
	const manifest = "id: q\nversion: VERSION\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio, requirements: requirements.txt}\n"
	tree := func(version, requirements string, wheels ...wheeltest.Wheel) string {
		dir := dirOf(t, strings.Replace(manifest, "VERSION", version, 1), "import third\n"+sdkSays(version))
		write(t, filepath.Join(dir, "requirements.txt"), requirements)
		for _, w := range wheels {
			write(t, filepath.Join(dir, w.File()), string(w.Bytes(t)))
		}
		return dir
	}
	third := wheeltest.Wheel{Name: "third", Version: "1.0"}
	h := newHost(t, api.Action, nil)
	h.following().owned()
	file := packed(t, tree("1.0.0", "third==1.0\n", third), nil)
	began := time.Now()
	h.does("plugins install --allow-unsigned "+file, "q 1.0.0 is installed", "installing collected packages")
	took := time.Since(began)
	t.Logf("a package with a requirement and its wheel was installed, without an index, in %v", took)
	if took > 5*time.Second { // what an owner may wait
		t.Errorf("it took %v", took)
	}
	h.fails("plugins install --allow-unsigned "+tree("2.0.0", "third==2.0\n", third), "requirements.txt:1: third==2.0: there are other versions (1.0)")
	if got := h.answers("q"); got != `"1.0.0"` {
		t.Errorf("then it answers %s", got)
	}
	h.does("plugins show q", "PACKAGES", "third 1.0", "1.0.0")
}

// TestBuildsReachTheIndexAndNothingElse has an index that leads elsewhere for a file.
func TestBuildsReachTheIndexAndNothingElse(t *testing.T) {
	w, next := wheeltest.Wheel{Name: "third", Version: "1.0"}, wheeltest.Wheel{Name: "third", Version: "2.0"}
	var reached atomic.Bool
	var full bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Store(true)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer elsewhere.Close()
	index := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/simple/third/":
			fmt.Fprintf(out, `<a href="/files/%s">%[1]s</a><a href="%s/%s">%[3]s</a>`, path.Base(w.File()), elsewhere.URL, path.Base(next.File()))
		case strings.HasPrefix(r.URL.Path, "/files/"):
			out.Write(w.Bytes(t))
		default:
			http.NotFound(out, r)
		}
	}))
	defer index.Close()
	defer func() {
		if full && reached.Load() {
			t.Error("a build reached another place than the index")
		}
	}()
	url := strings.Replace(index.URL, "http://", "http://builder:s3cr3t@", 1) + "/simple"
	h := newHost(t, api.Action, map[string]string{
		"a": requiring, "a/requirements.txt": "third==1.0\n", "b": requiring, "b/requirements.txt": "third==2.0\n",
	}, "STAVILY_PLUGINS_PYTHON_INDEX_URL="+url)
	h.ended(h.Execute(t.Context(), h.order("a", nil)), api.Completed, "")
	if strings.Contains(h.log.String(), "s3cr3t") {
		t.Error("the log holds the password of the index")
	}
	if full = h.Posture().Level == api.SandboxFull; !full {
		return // destinations cannot be told apart
	}
	if h.log.count("connection to the package index", index.Listener.Addr().String()) == 0 {
		t.Errorf("no connection is in the log:\n%s", h.log)
	}
	if _, err := h.Find("b"); err == nil || !strings.Contains(err.Error(), "or another host that it names for a file, cannot be reached") {
		t.Errorf("a file of another host: %v", err)
	}
}

func TestAnInterpreterThatFitsIsFound(t *testing.T) {
	manifest := func(version string) string {
		return "type: action\nruntime: {entry_point: main.py, contract: script, version: \"" + version + "\"}\n---\nprint('{}')\n"
	}
	h := newHost(t, api.Action, map[string]string{"any": manifest("3.8+"), "future": manifest("4.0+")})
	h.ended(h.Execute(t.Context(), h.order("any", nil)), api.Completed, "")
	if _, err := h.Find("future"); err == nil || !strings.Contains(err.Error(), "needs Python 4.0+: here is 3.") || !strings.Contains(err.Error(), "plugins.python.interpreters") {
		t.Errorf("Find: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(h.base, "data", "cache", "env"))
	if err != nil || len(left) != 1 {
		t.Errorf("plugins that require nothing have %d environments (%v), want one", len(left), err)
	}
}
