package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const fileWithTests = `name: tell
triggers: [{event: "disk.**"}]
when: event.data.percent > 90
outputs: [{plugin: slack}]
tests:
  - name: full
    event: {type: disk.full, data: {percent: 91}}
    expect: {runs: true, order: [slack]}
`

func TestWorkflowFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, wrong := write("good.yaml", fileWithTests), write("wrong.yaml", "name: x\nbogus: 1\n")
	failing := write("failing.yaml", strings.Replace(fileWithTests, "percent: 91", "percent: 90", 1))
	for _, c := range []struct {
		args           []string
		code           int
		out, complains string
	}{
		{[]string{"validate", good}, exitOK, "good.yaml  tell      0        1        1", ""},
		{[]string{"validate", good, wrong}, exitFailed, "good.yaml", wrong + ":2:1: unknown key"},
		{[]string{"validate", filepath.Join(dir, "none")}, exitFailed, "", "no such file"},
		{[]string{"validate"}, exitUsage, "", "requires at least 1 arg"},
		{[]string{"test", good}, exitOK, "1 passed, 0 failed", ""},
		{[]string{"test", good, failing}, exitFailed, "1 passed, 1 failed", failing + `:6:5: test "full": does not run: when is not met: event.data.percent > 90 (event.data.percent = 90)`},
		{[]string{"test", wrong}, exitFailed, "0 passed, 0 failed", wrong + ":2:1: "},
		{[]string{"graph", good}, exitOK, "  tell  slack: when completed or failed", ""},
		{[]string{"graph", good, "--format", "svg"}, exitOK, "<svg ", ""},
		{[]string{"graph", good, "--format", "mermaid"}, exitOK, "flowchart LR", ""},
		{[]string{"graph", good, "--format", "png"}, exitUsage, "", "must be text, svg or mermaid"},
	} {
		code, out, errs := run(t, append([]string{"workflow"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.complains) {
			t.Errorf("workflow %s = %d\n%s\n%s, want %d, %q, %q", strings.Join(c.args, " "), code, out, errs, c.code, c.out, c.complains)
		}
	}
	_, out, _ := run(t, "workflow", "test", failing, "-o", "json")
	var got []tried
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || len(got[0].Tests) != 1 || got[0].Tests[0].Passed || got[0].Tests[0].Decision.Run ||
		len(got[0].Tests[0].Problems) != 1 || got[0].Tests[0].Problems[0].Line != 6 || !strings.Contains(out, `"message": "test \"full\": does not run`) {
		t.Errorf("as JSON: %+v, %v\n%s", got, err, out)
	}
}

// TestValidateForPrograms holds that a program finds every mistake in the answer, and knows a
// file that is right by the same list.
func TestValidateForPrograms(t *testing.T) {
	dir := t.TempDir()
	good, wrong, none := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "wrong.yaml"), filepath.Join(dir, "none.yaml")
	for path, text := range map[string]string{good: fileWithTests, wrong: "name: x\nbogus: 1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	type mistake struct {
		File, Message string
		Line, Column  int
	}
	type row struct {
		File, Workflow string
		Tests          int
		Mistakes       []mistake
	}
	validate := func(want int, files ...string) (rows []row, errs string) {
		t.Helper()
		code, out, errs := run(t, append([]string{"workflows", "validate", "-o", "json"}, files...)...)
		if err := json.Unmarshal([]byte(out), &rows); err != nil || code != want || len(rows) != len(files) {
			t.Fatalf("validate %v = %d, want %d and all files:\n%s%s%v", files, code, want, out, errs, err)
		}
		return rows, errs
	}
	rows, errs := validate(exitOK, good)
	if r := rows[0]; r.File != good || r.Workflow != "tell" || r.Tests != 1 || r.Mistakes == nil || len(r.Mistakes) > 0 || errs != "" {
		t.Errorf("of a file that is right: %+v, %q", rows, errs)
	}
	rows, errs = validate(exitFailed, wrong, none, good)
	if m := rows[0].Mistakes; !slices.Contains(m, mistake{File: wrong, Line: 2, Column: 1, Message: `unknown key "bogus"`}) {
		t.Errorf("mistakes of %s: %+v", wrong, m)
	}
	if m := rows[1].Mistakes; len(m) != 1 || m[0] != (mistake{File: none, Message: "no such file"}) {
		t.Errorf("mistakes of a file that is not there: %+v", m)
	}
	if m := rows[2].Mistakes; m == nil || len(m) > 0 {
		t.Errorf("mistakes of the file after those: %+v", m)
	}
	if !strings.Contains(errs, wrong+":2:1: unknown key") || !strings.Contains(errs, none+": no such file") {
		t.Errorf("people are told %q", errs)
	}
}
