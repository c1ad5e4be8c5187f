//go:build unix

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// repo is a git repository on this host.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: installing from repositories was not tried")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &repo{t, filepath.Join(dir, "repo")}
	write(t, filepath.Join(r.dir, "README.md"), "plugins")
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes a plugin's files and returns the commit.
func (r *repo) commit(dir, version, manifest, program string) string {
	r.t.Helper()
	write(r.t, filepath.Join(r.dir, dir, "plugin.yaml"), "id: tidy\nversion: "+version+"\n"+manifest)
	write(r.t, filepath.Join(r.dir, dir, "main.py"), program)
	r.git("add", "-A")
	r.git("commit", "-q", "-m", version)
	return r.git("rev-parse", "HEAD")
}

const scripted = "type: action\nruntime: {type: python, entry_point: main.py, contract: script}\n"

// changing is an instruction that changes what is installed.
func changing(typ string, c api.PluginConfiguration) Task {
	return Task{Instruction: &api.Instruction{ID: "ins-9", PluginID: "tidy", InstructionType: typ, PluginConfiguration: c, TimeoutSeconds: 60}}
}

func TestInstallFromGit(t *testing.T) {
	r := newRepo(t)
	first := r.commit("plugins/tidy", "1.0.0", scripted, "print('{\"is\": 1}')\n")
	r.git("tag", "v1")
	h := newHost(t, api.Action, nil, "STAVILY_PLUGINS_SOURCES="+r.dir)
	from := api.PluginConfiguration{PluginURL: r.dir, Tag: "v1", SubDirectory: "plugins/tidy", Version: "^1"}
	task := changing(api.TypeInstall, from)
	var said []string
	task.Progress = func(p plugin.Progress) { said = append(said, p.Message) }
	if err := h.CanInstall(task.Instruction); err != nil {
		t.Fatal(err)
	}
	got := h.Change(t.Context(), task)
	h.ended(got, api.Completed, "")
	want := fields(t, got.Result, "plugin", "version", "source")
	if want["plugin"] != `"tidy"` || want["version"] != `"1.0.0"` || want["source"] != `{"kind":"git","from":"`+r.dir+`","revision":"`+first+`","sub_directory":"plugins/tidy"}` {
		t.Errorf("result %s", got.Result)
	}
	if all := strings.Join(said, "; "); !strings.Contains(all, "fetching file://"+r.dir) || !strings.Contains(all, "fetched commit "+first) || !strings.Contains(all, "loading") {
		t.Errorf("progress was %q", all)
	}
	h.ended(h.Execute(t.Context(), h.order("tidy", nil)), api.Completed, "")

	again := h.Change(t.Context(), task)
	if f := fields(t, again.Result, "unchanged"); f["unchanged"] != "true" {
		t.Errorf("the same again: %s", again.Result)
	}
	// An update follows where the plugin came from.
	second := r.commit("plugins/tidy", "1.1.0", scripted, "print('{\"is\": 2}')\n")
	update := h.Change(t.Context(), changing(api.TypeUpdate, api.PluginConfiguration{}))
	if f := fields(t, update.Result, "version", "before"); update.Status != api.Completed || f["version"] != `"1.1.0"` || f["before"] != `"1.0.0"` || !strings.Contains(string(update.Result), second) {
		t.Errorf("update: %s %s: %s", update.Status, update.ErrorMessage, update.Result)
	}
	if left, _ := filepath.Glob(filepath.Join(h.base, "data", "plugins", ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	removed := h.Change(t.Context(), changing(api.TypeRemove, api.PluginConfiguration{}))
	if removed.Status != api.Completed || !strings.Contains(string(removed.Result), `"removed":true`) {
		t.Errorf("remove: %+v", removed)
	}
	if _, err := h.Find("tidy"); err == nil {
		t.Error("it is still there")
	}
}

func TestInstallationsThatAreRefused(t *testing.T) {
	r := newRepo(t)
	first := r.commit("", "1.0.0", scripted, "print('{}')\n")
	h := newHost(t, api.Action, map[string]string{"edited": script("print('{}')")}, "STAVILY_PLUGINS_SOURCES="+r.dir, "STAVILY_PLUGINS_BLOCKED_PLUGINS=bad")
	good := api.PluginConfiguration{PluginURL: r.dir, CommitHash: first}
	for name, c := range map[string]struct {
		typ, id string
		change  func(*api.PluginConfiguration)
		want    string
	}{
		"another place":     {api.TypeInstall, "tidy", func(c *api.PluginConfiguration) { c.PluginURL = "https://evil.example.com/x" }, "plugins.sources does not allow it"},
		"beside the place":  {api.TypeInstall, "tidy", func(c *api.PluginConfiguration) { c.PluginURL = r.dir + "-evil" }, "plugins.sources does not allow it"},
		"an option":         {api.TypeInstall, "tidy", func(c *api.PluginConfiguration) { c.Branch = "--upload-pack=x" }, "is no name of a branch"},
		"two URLs":          {api.TypeInstall, "tidy", func(c *api.PluginConfiguration) { c.RepositoryURL = "/other" }, "name two"},
		"blocked":           {api.TypeInstall, "bad", nil, "plugins.blocked_plugins"},
		"the owner's":       {api.TypeInstall, "edited", nil, "which its owner edits"},
		"not assigned":      {api.TypeInstall, "tidy", func(c *api.PluginConfiguration) { c.PluginURL, c.CommitHash = "", "" }, "has assigned no package"},
		"update of nothing": {api.TypeUpdate, "tidy", nil, "is not installed on this agent"},
		"remove nothing":    {api.TypeRemove, "tidy", nil, "is not installed on this agent"},
	} {
		task := changing(c.typ, good)
		task.Instruction.PluginID = api.PluginID(c.id)
		if c.change != nil {
			c.change(&task.Instruction.PluginConfiguration)
		}
		if err := h.CanInstall(task.Instruction); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: CanInstall = %v, want %s", name, err, c.want)
		}
		if got := h.Change(t.Context(), task); got.Status != api.Failed || !strings.Contains(got.ErrorMessage, c.want) {
			t.Errorf("%s: %s: %s", name, got.Status, got.ErrorMessage)
		}
	}
	for name, c := range map[string]struct {
		id     string
		change func(*api.PluginConfiguration)
		want   string
	}{
		"another plugin":  {"other", nil, "what is there is plugin tidy, and other was asked for"},
		"another version": {"tidy", func(c *api.PluginConfiguration) { c.Version = "^2" }, "it is version 1.0.0 and ^2 is asked for"},
		"another digest":  {"tidy", func(c *api.PluginConfiguration) { c.Digest = "sha256:0" }, "and sha256:0 is asked for"},
		"no such commit":  {"tidy", func(c *api.PluginConfiguration) { c.CommitHash = strings.Repeat("0", 40) }, "git: "},
		"no plugin there": {"tidy", func(c *api.PluginConfiguration) { c.SubDirectory = ".github" }, "has no directory"},
	} {
		task := changing(api.TypeInstall, good)
		task.Instruction.PluginID = api.PluginID(c.id)
		if c.change != nil {
			c.change(&task.Instruction.PluginConfiguration)
		}
		if got := h.Change(t.Context(), task); got.Status != api.Failed || !strings.Contains(got.ErrorMessage, c.want) {
			t.Errorf("%s: %s: %s\nwant %s", name, got.Status, got.ErrorMessage, c.want)
		}
	}
	if _, err := h.Find("tidy"); err == nil {
		t.Error("something of it was installed")
	}
}

// A version that asks for more than the one in use waits for somebody.
func TestGrownPermissionsAreNotInstalledByInstruction(t *testing.T) {
	r := newRepo(t)
	r.commit("", "1.0.0", scripted, "print('{}')\n")
	h := newHost(t, api.Action, nil, "STAVILY_PLUGINS_SOURCES="+r.dir)
	h.ended(h.Change(t.Context(), changing(api.TypeInstall, api.PluginConfiguration{PluginURL: r.dir})), api.Completed, "")
	r.commit("", "2.0.0", scripted+"permissions: {network: true, filesystem: {write: [/srv]}}\n", "print('{}')\n")
	got := h.Change(t.Context(), changing(api.TypeUpdate, api.PluginConfiguration{}))
	if got.Status != api.Failed || !strings.Contains(got.ErrorMessage, "asks for more than 1.0.0") {
		t.Fatalf("%s: %s", got.Status, got.ErrorMessage)
	}
	var details struct{ Asks []string }
	if err := json.Unmarshal(got.ErrorDetails, &details); err != nil || !slices.Contains(details.Asks, "write /srv") {
		t.Errorf("details %s", got.ErrorDetails)
	}
	if p, err := h.Find("tidy"); err != nil || p.Version != "1.0.0" {
		t.Errorf("in use is %v, %v", p, err)
	}
}

func TestACancelledInstallationChangesNothing(t *testing.T) {
	r := newRepo(t)
	r.commit("", "1.0.0", scripted, "print('{}')\n")
	h := newHost(t, api.Action, nil, "STAVILY_PLUGINS_SOURCES="+r.dir)
	ctx, cancel := context.WithCancel(t.Context())
	task := changing(api.TypeInstall, api.PluginConfiguration{PluginURL: r.dir})
	task.Progress = func(plugin.Progress) { cancel() }
	if got := h.Change(ctx, task); got.Status != api.Failed {
		t.Errorf("%s", got.Status)
	}
	if left := names(t, filepath.Join(h.base, "data", "plugins")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// packageOf packs a plugin and leaves the file open.
func packageOf(t *testing.T, key *bundle.Signer, version, manifest string) *os.File {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "p")
	write(t, filepath.Join(dir, "plugin.yaml"), "id: tidy\nversion: "+version+"\n"+manifest)
	write(t, filepath.Join(dir, "main.py"), "print('{}')\n")
	var b bytes.Buffer
	if _, err := bundle.Pack(&b, dir, key); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "p.tar.gz")
	write(t, path, b.String())
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestInstallPackage(t *testing.T) {
	key, other := newSigner(t), newSigner(t)
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, key.Key().Line()+"\n")
	h := newHost(t, api.Action, nil, "STAVILY_PLUGINS_TRUSTED_KEYS="+keys)
	install := func(f *os.File, how Packaged) (Change, error) { return h.InstallPackage(t.Context(), f, how, nil) }

	if _, err := install(packageOf(t, nil, "1.0.0", scripted), Packaged{}); !errors.Is(err, bundle.ErrUnsigned) || !isRefusal(err) {
		t.Errorf("unsigned: %v", err)
	}
	if _, err := install(packageOf(t, other, "1.0.0", scripted), Packaged{}); !errors.Is(err, bundle.ErrUntrusted) {
		t.Errorf("another key: %v", err)
	}
	if _, err := install(packageOf(t, other, "1.0.0", scripted), Packaged{Unsigned: true}); err != nil {
		t.Errorf("another key, brought by the owner: %v", err)
	}
	e := h.store.Entry("tidy")
	if v, _ := e.Of(e.Active); v.Origin.Signer != "" {
		t.Errorf("a key that is not trusted vouches for it: %+v", v.Origin)
	}
	if c, err := install(packageOf(t, nil, "1.0.0", scripted), Packaged{Unsigned: true, From: catalog.Origin{Kind: catalog.FromPackage}}); err != nil || c.Plugin.Version != "1.0.0" {
		t.Errorf("unsigned, brought by the owner: %v", err)
	}
	if _, err := install(packageOf(t, key, "1.1.0", scripted), Packaged{Want: bundle.Want{ID: "other"}}); err == nil {
		t.Error("another plugin was taken")
	}
	c, err := install(packageOf(t, key, "1.1.0", scripted), Packaged{Want: bundle.Want{ID: "tidy", Over: "1.0.0"}, From: catalog.Origin{Kind: catalog.FromPackage}})
	if err != nil || c.Before != "1.0.0" {
		t.Fatalf("signed: %+v, %v", c, err)
	}
	e = h.store.Entry("tidy")
	if v, _ := e.Of(e.Active); v.Origin.Signer != key.Key().String() || !strings.HasPrefix(v.Origin.Revision, "sha256:") {
		t.Errorf("origin %+v", v.Origin)
	}
	// A key that is added counts at once.
	write(t, keys, key.Key().Line()+"\n"+other.Key().Line()+"\n")
	if _, err := install(packageOf(t, other, "1.2.0", scripted), Packaged{From: catalog.Origin{Kind: catalog.FromPackage}}); err != nil {
		t.Errorf("a key that was added: %v", err)
	}
}

func newSigner(t *testing.T) *bundle.Signer {
	t.Helper()
	s, err := bundle.NewKey("tester")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
