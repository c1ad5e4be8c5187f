package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// Plugins as they were written for the original agents, by directory of one repository:
// both contracts, both forms of manifest, with requirements and without.
var originals = map[string]map[string]string{
	"stdio-flat": {
		"plugin.yaml": "id: git-stdio\nname: Git Stdio\nversion: 1.0.0\ntype: action\nruntime: {type: python, version: \"3.8+\", entry_point: main.py}\n",
		"main.py":     "@old-stdio-action",
	},
	"script-nested": {
		"plugin.yaml": `plugin:
  id: git-script
  name: Git Script
  version: 2.0.0
  type: action
  runtime: {type: python, entry_point: main.py, contract: script}
  configuration:
    greeting: {type: string, default: hello}
`,
		"main.py": `import json, os, sys
given = json.load(open(os.environ["STAVILY_INPUT_FILE"]))
print(json.dumps({"arguments": sys.argv[1:], "colour": os.environ.get("COLOUR"), "n": given["input_data"]["n"]}))
`,
	},
	"needs/script": {
		"plugin.yaml":                           "id: git-needs\nversion: 1.0.0\ntype: action\nruntime: {type: python, entry_point: main.py, requirements: requirements.txt, contract: script}\n",
		"requirements.txt":                      "tinything==1.5\n",
		"main.py":                               "import json, tinything\nprint(json.dumps({\"tinything\": tinything.version}))\n",
		"wheels/tinything-1.5-py3-none-any.whl": "@wheel",
	},
}

// wheel is a package that nobody publishes.
func wheel(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range map[string]string{
		"tinything/__init__.py":            "version = '1.5'\n",
		"tinything-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.5\n",
		"tinything-1.5.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"tinything-1.5.dist-info/RECORD":   "tinything/__init__.py,,\ntinything-1.5.dist-info/METADATA,,\ntinything-1.5.dist-info/WHEEL,,\ntinything-1.5.dist-info/RECORD,,\n",
	} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// repositoryOf commits directories of files and returns the repository and the commit.
func repositoryOf(t *testing.T, dirs map[string]map[string]string) (dir, commit string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: installing from repositories was not tried")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range dirs {
		for file, text := range files {
			if text == "@wheel" {
				text = wheel(t)
			}
			if plugin, found := strings.CutPrefix(text, "@"); found {
				b, err := os.ReadFile(filepath.Join("testdata", "plugins", plugin, "main.py"))
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
			path := filepath.Join(dir, name, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "plugins"}, {"rev-parse", "HEAD"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		commit = strings.TrimSpace(string(out))
	}
	return dir, commit
}

// configure adds lines to the agent's configuration file.
func (w *world) configure(a *cluster.Agent, text string) {
	w.t.Helper()
	path := filepath.Join(a.Base, "config", "agent.yaml")
	was, err := os.ReadFile(path)
	w.must(err)
	w.must(os.WriteFile(path, append(was, text...), 0o600))
}

// once is a sensor that reports one event when it starts, so that a workflow runs once.
func (w *world) once(id api.AgentID) {
	w.t.Helper()
	w.agent(id, api.Sensor, []string{"old-chatty-sensor"}, map[string]string{"chatty": "plugin: old-chatty-sensor\ninterval: 1s\n"})
}

// A workflow installs plugins of the original agents from a repository that the host's
// owner allows, and executes them, with arguments and environment that the owner grants.
func TestOriginalPluginsAreInstalledAndExecuted(t *testing.T) {
	t.Parallel()
	repository, commit := repositoryOf(t, originals)
	w := newWorld(t)
	var steps strings.Builder
	for id, dir := range map[string]string{"git-stdio": "stdio-flat", "git-script": "script-nested", "git-needs": "needs/script"} {
		with := "with: {n: 21}"
		if id == "git-script" {
			with += "\n    plugin_configuration: {arguments: [--loud, x], environment: {COLOUR: blue}}"
		}
		fmt.Fprintf(&steps, `  - id: install-%[1]s
    plugin: %[1]s
    type: plugin_install
    agents: {ids: [git-a]}
    plugin_configuration: {plugin_url: %[2]q, commit_hash: %[3]s, sub_directory: %[4]s}
  - id: run-%[1]s
    needs: [install-%[1]s]
    plugin: %[1]s
    agents: {ids: [git-a]}
    %[5]s
`, id, repository, commit, dir, with)
	}
	w.apply("name: install\ntriggers:\n  - event: old.*\nactions:\n" + steps.String())
	a := w.agent("git-a", api.Action, nil, map[string]string{"script": "plugin: git-script\narguments: true\nenvironment: true\n"})
	w.configure(a, "plugins:\n  sources: ["+repository+"]\n")
	w.once("git-s")
	w.start("git-a", "git-s")

	r := w.awaitRun()
	results := map[string]string{}
	for _, s := range r.Steps {
		if s.Status != "completed" || s.Result == nil {
			t.Fatalf("step %s is %s: %s %+v", s.Step, s.Status, s.Message, s.Result)
		}
		results[s.Step] = compact(t, s.Result.Result)
	}
	for step, parts := range map[string][]string{
		"install-git-stdio":  {`"plugin":"git-stdio"`, `"version":"1.0.0"`, `"revision":"` + commit + `"`, `"kind":"git"`},
		"install-git-script": {`"version":"2.0.0"`, `"sub_directory":"script-nested"`},
		"install-git-needs":  {`"digest":"sha256:`},
		"run-git-stdio":      {`"echo":{"n":21}`},
		"run-git-script":     {`"--loud","x"]`, `"colour":"blue"`, `"n":21`},
		"run-git-needs":      {`{"tinything":"1.5"}`},
	} {
		for _, part := range parts {
			if !strings.Contains(results[step], part) {
				t.Errorf("result of %s is %s, want %s in it", step, results[step], part)
			}
		}
	}
}

// What the host's owner has not allowed is not installed, and the run says why.
func TestARepositoryThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	repository, commit := repositoryOf(t, originals)
	w := newWorld(t)
	w.apply("name: install\ntriggers:\n  - event: old.*\nactions:\n" + fmt.Sprintf(`  - plugin: git-stdio
    type: plugin_install
    agents: {ids: [none-a]}
    plugin_configuration: {plugin_url: %q, commit_hash: %s, sub_directory: stdio-flat}
`, repository, commit))
	w.agent("none-a", api.Action, nil, nil)
	w.once("none-s")
	w.start("none-a", "none-s")
	r := w.awaitRun()
	text, _ := json.Marshal(r.Steps)
	if len(r.Steps) != 1 || r.Steps[0].Status != "rejected" || !strings.Contains(string(text), "plugins.sources does not allow it: it is empty") {
		t.Errorf("steps %s", text)
	}
}
