package policy

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How many numbered promises the original README makes, how many decisions were taken where it
// contradicts itself, and how many promises were added to it.
const requirements, decisions, additions = 196, 44, 5

var (
	rowOf     = regexp.MustCompile(`(?m)^\| (R\d{3}|[FN]\d{2}) \| (.+?) \| (?:(.+?) \| )?(.*?) \|$`)
	inTicks   = regexp.MustCompile("`([^`]+)`")
	makeRule  = regexp.MustCompile(`(?m)^([a-z][a-z0-9 -]*):`)
	testInDir = regexp.MustCompile(`^([a-z0-9/_-]+):(Test\w+|Fuzz\w+|Example\w*|Benchmark\w+)$`)
)

// Each numbered promise and decision has its row, and each row names what holds it, which exists.
func TestEveryPromiseHasATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, targets := testsOf(t), makeTargets(t)
	rows := rowOf.FindAllStringSubmatch(string(text), -1)
	for i, row := range rows {
		want := fmt.Sprintf("R%03d", i+1)
		if i >= requirements {
			want = fmt.Sprintf("F%02d", i+1-requirements)
		}
		if i >= requirements+decisions {
			want = fmt.Sprintf("N%02d", i+1-requirements-decisions)
		}
		if row[1] != want {
			t.Fatalf("docs/conformance.md: row %d is %s, want %s: each number once, in order", i+1, row[1], want)
		}
		held(t, row[1], row[4], tests, targets)
	}
	if want := requirements + decisions + additions; len(rows) != want {
		t.Errorf("docs/conformance.md has %d rows, want %d", len(rows), want)
	}
}

// Each threat of the model has its number in order, a boundary and a kind that the page
// explains, and what holds it, which exists. No boundary and no kind is left out.
func TestEveryThreatHasATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "security", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, targets := testsOf(t), makeTargets(t)
	without := map[string]bool{"B1": true, "B2": true, "B3": true, "B4": true, "B5": true, "B6": true, "B7": true,
		"S": true, "T": true, "R": true, "I": true, "D": true, "E": true}
	rows := threat.FindAllStringSubmatch(string(text), -1)
	for i, row := range rows {
		if want := fmt.Sprintf("T-%02d", i+1); row[1] != want {
			t.Fatalf("docs/security/threat-model.md: row %d is %s, want %s: each number once, in order", i+1, row[1], want)
		}
		delete(without, row[2])
		delete(without, row[3])
		held(t, row[1], row[4], tests, targets)
	}
	if len(without) > 0 {
		t.Errorf("docs/security/threat-model.md has no threat of %v among its %d", slices.Sorted(maps.Keys(without)), len(rows))
	}
}

var threat = regexp.MustCompile(`(?m)^\| (T-\d+) \| (B[1-7]) \| ([STRIDE]) \| [^|]+ \| [^|]+ \| (.*?) \|$`)

// testsOf are the tests there are, as package directory:TestName.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && s.isTest() {
				out[s.dir()+":"+f.Name.Name] = true
			}
		}
	}
	return out
}

// held checks that what a row names in ticks is there, and that it names something.
func held(t *testing.T, id, names string, tests, targets map[string]bool) {
	t.Helper()
	found := inTicks.FindAllStringSubmatch(names, -1)
	if len(found) == 0 {
		t.Errorf("%s has no test", id)
	}
	for _, name := range found {
		if err := holds(t, name[1], tests, targets); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// holds says what is wrong with the name of a test, a target or a script.
func holds(t *testing.T, name string, tests, targets map[string]bool) error {
	t.Helper()
	if target, ok := strings.CutPrefix(name, "make "); ok {
		if !targets[target] {
			return fmt.Errorf("the Makefile has no target %q", target)
		}
		return nil
	}
	if m := testInDir.FindStringSubmatch(name); m != nil {
		if !tests[name] {
			return fmt.Errorf("%s has no %s", m[1], m[2])
		}
		return nil
	}
	if info, err := os.Stat(filepath.Join(root(t), filepath.FromSlash(name))); err != nil || info.IsDir() || !strings.Contains(name, "/") {
		return fmt.Errorf("%q is no test, target or script: write package:TestName, make target, or a file", name)
	}
	return nil
}

func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range makeRule.FindAllStringSubmatch(string(text), -1) {
		for _, name := range strings.Fields(m[1]) {
			out[name] = true
		}
	}
	return out
}

// The folders, and the files beside them, that the original README speaks of; what it
// says is gone is not there.
func TestTheTreeOfTheOriginal(t *testing.T) {
	for _, name := range []string{
		"shared/pkg/agent", "shared/pkg/api", "shared/pkg/config", "shared/pkg/plugin",
		"sensor-agent/cmd/sensor-agent", "sensor-agent/internal/agent", "action-agent/cmd/action-agent", "action-agent/internal/agent",
		"configs", "scripts", "deployments", "configs/dev-sensor.yaml", "configs/dev-action.yaml",
		"CONTRIBUTING.md", "LICENSE", "docs/CHANGES.md", "Makefile",
	} {
		if _, err := os.Stat(filepath.Join(root(t), name)); err != nil {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
	tested := map[string]int{}
	for _, s := range sources(t) {
		if strings.Contains(s.path, "enhanced") {
			t.Errorf("%s: there is no enhanced agent", s.path)
		}
		if s.isTest() {
			tested[s.dir()]++
		}
	}
	for _, dir := range []string{"shared/pkg/agent", "shared/pkg/api", "shared/pkg/config", "shared/pkg/plugin", "action-agent/internal/agent", "sensor-agent/internal/agent"} {
		if tested[dir] == 0 {
			t.Errorf("%s has no tests", dir)
		}
	}
}
