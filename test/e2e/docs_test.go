package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// root is the repository's directory, seen from this one.
const root = "../.."

func repository(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents are the Markdown files of the repository, relative to its root.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			name, err := filepath.Rel(root, path)
			out = append(out, name)
			return err
		}
		return nil
	})
	if err != nil || len(out) < 10 {
		t.Fatalf("documents %v, %v: want at least ten", out, err)
	}
	return out
}

func exists(t *testing.T, elem ...string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(elem...))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	quoted  = regexp.MustCompile("`([^`\n]+)`")
	target  = regexp.MustCompile("(?m)(?:`|^)make ([a-z][a-z-]*)")
	block   = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	notHere = regexp.MustCompile(`[\s<>*…${}:@]|^(config|data|logs|certificates|certs|bin|dist)/|^"?/|^\[|^\./|^(packages|ca)/$|^log/slog$`) // patterns, commands, what stands on an agent's host, the standard library
)

// Whatever a document points at is there.
func TestDocumentsPointAtWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		text := repository(t, name)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && !exists(t, root, filepath.Dir(name), m[1]) {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
		if dir := filepath.Dir(name); dir != "." && dir != "docs" {
			continue // what a plugin names is on the host that it runs on
		}
		prose := block.ReplaceAllString(text, "")
		for _, m := range quoted.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(m[1], "/") && !notHere.MatchString(m[1]) && !exists(t, root, m[1]) {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}

func TestDocumentedTargetsExist(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("make")
	if err != nil {
		t.Skip("make is not installed")
	}
	said := map[string]bool{}
	for _, name := range documents(t) {
		for _, m := range target.FindAllStringSubmatch(repository(t, name), -1) {
			said[m[1]] = true
		}
	}
	if len(said) < 8 {
		t.Fatalf("targets %v: want at least eight", said)
	}
	ask := append([]string{"-C", root, "--question", "--silent", "--keep-going"}, slices.Collect(maps.Keys(said))...)
	if out, err := exec.Command(tool, ask...).CombinedOutput(); strings.Contains(string(out), "No rule") {
		t.Errorf("make: %v: %s", err, out)
	}
}

// The map of the repository is whole: every package that a row of it stands for is in
// the row, and nothing else.
func TestTheMapIsWhole(t *testing.T) {
	t.Parallel()
	text := repository(t, "docs/ARCHITECTURE.md")
	if n := strings.Count(text, "\n"); n > 4*55 {
		t.Errorf("ARCHITECTURE.md has %d lines, more than four pages", n)
	}
	_, table, found := strings.Cut(text, "| folder | what it is |")
	table, _, ended := strings.Cut(table, "\n\n")
	if !found || !ended {
		t.Fatal("ARCHITECTURE.md has no table of folders")
	}
	var folders []string
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		cells := strings.Split(row, "|")
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			folders = append(folders, m[1])
			if !exists(t, root, m[1]) {
				t.Errorf("there is no %s", m[1])
			}
		}
		of := folders[len(folders)-1]
		if of != "shared/internal" && of != "orchestrator/internal" {
			continue
		}
		list, _, _ := strings.Cut(cells[2], ":")
		named := regexp.MustCompile(`\([^)]*\)|[·—]`).ReplaceAllString(list, " ")
		if got, want := sorted(strings.Fields(named)), directories(t, of); !slices.Equal(got, want) {
			t.Errorf("the row of %s names %v, there are %v", of, got, want)
		}
	}
	for _, parent := range []string{"shared/pkg", "internal"} {
		for _, d := range directories(t, parent) {
			if !slices.Contains(folders, parent+"/"+d) {
				t.Errorf("the table does not have %s/%s", parent, d)
			}
		}
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

func directories(t *testing.T, of string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, of))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// The samples are valid for the agent that they are for. The ones below plugins are
// what an agent takes without a word.
func TestSamplesAreValid(t *testing.T) {
	t.Parallel()
	samples, err := filepath.Glob(filepath.Join(root, "configs", "*.yaml"))
	if err != nil || len(samples) < 3 {
		t.Fatalf("samples %v, %v", samples, err)
	}
	for _, sample := range samples {
		program := map[bool]string{true: "action-agent", false: "sensor-agent"}[strings.Contains(sample, "action")]
		o := command(t, program, "config", "validate", sample)
		o.want(t, sample, 0)
		if o.stderr != "" {
			t.Errorf("%s: %s", sample, o.stderr)
		}
	}
	samples, err = filepath.Glob(filepath.Join(root, "configs", "plugins", "*.yaml"))
	if err != nil || len(samples) < 5 {
		t.Fatalf("plugin samples %v, %v", samples, err)
	}
	w := newWorld(t)
	for _, typ := range []api.AgentType{api.Sensor, api.Action} {
		a := w.agent("sample-"+api.AgentID(typ), typ, nil, nil)
		for _, sample := range samples {
			if text := repository(t, strings.TrimPrefix(sample, root)); strings.Contains(text, " "+string(typ)+" agent") {
				// Not the real disk's state but the sample is looked at.
				text = strings.ReplaceAll(text, "/var/log", w.t.TempDir())
				w.must(a.Configure(strings.TrimSuffix(filepath.Base(sample), ".yaml"), text))
			}
		}
		w.start(a.ID)
		w.await(string(typ)+" agent online and its monitors running", func() error {
			r := cli[agentWithHealth](w, "agents", "show", string(a.ID))
			if len(r.Health.Conditions) > 0 {
				t.Fatalf("%s agent: %+v", typ, r.Health.Conditions)
			}
			for _, m := range r.Monitors {
				if m.State != "running" {
					return fmt.Errorf("monitor %s is %s: %s", m.Name, m.State, m.Message)
				}
			}
			if r.Status != "online" || typ == api.Sensor && len(r.Monitors) != 2 {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
	}
}

type agentWithHealth struct {
	agentRecord
	Health api.Health `json:"health"`
}
