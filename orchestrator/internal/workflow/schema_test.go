package workflow

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write what is published")

const published = "../../../docs/workflow.schema.json"

// What is published is what this version reads.
func TestSchemaIsPublished(t *testing.T) {
	made, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(published, made, 0o644); err != nil { //nolint:gosec // a document that everybody reads
			t.Fatal(err)
		}
	}
	if there, err := os.ReadFile(published); err != nil || !bytes.Equal(there, made) {
		t.Errorf("%s is not what is read: run this test with -update (%v)", published, err)
	}
}

// compiled is the schema as an editor's validator uses it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid asks the schema about a document in YAML.
func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// What is right is right for the schema as well: every document of the pages and the cookbook.
func TestSchemaTakesWhatIsRight(t *testing.T) {
	s := compiled(t)
	var texts []string
	files, err := filepath.Glob("../../../docs/cookbook/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	page, err := os.ReadFile("../../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(block[1], "name:") {
			texts = append(texts, block[1])
		}
	}
	if len(texts) < 12 {
		t.Fatalf("%d documents", len(texts))
	}
	for _, text := range texts {
		if err := valid(t, s, text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// What the schema refuses the parser refuses too, and what it says about keys and words holds.
func TestSchemaRefusesWhatIsWrong(t *testing.T) {
	s := compiled(t)
	const rest = "\nactions: [{plugin: a}]\n"
	for _, src := range []string{
		"nme: w", "mode: ghost" + rest, "on_failure: panic" + rest, "cooldown: [1m]" + rest, "limits: {runs: {count: many, per: 1h}}" + rest,
		"correlate: {mode: some, within: 1m, key: []}" + rest, "limits: {concurrency: {max: 1, excess: kill}}" + rest, "actions: [{plugin: a, sandbox: strict}]",
		"actions: [{plugin: a, retry: {backoff: random}}]", "actions: [{plugin: a, retry: {on: [done]}}]", "actions: [{plugin: a, offline: {then: panic}}]",
		"actions: [{plugin: a, agents: {each: {tags: [x], twice: 1}}}]", "outputs: [{plugin: a, on: [done]}]", "outputs: [{plugin: a, needs: [b]}]",
		"actions: [{id: a, approval: {otherwise: maybe}}, {plugin: p, needs: [a]}]", "actions: [{id: a, approval: {groop: x}}, {plugin: p, needs: [a]}]",
		"actions: [{plugin: a, undo: {when: true}}]", "tests: [{name: t, event: {type: a, severity: huge}, expect: {runs: false}}]" + rest, "actions: [{plugin: a, with: 1}]",
	} {
		if err := valid(t, s, head+src); err == nil {
			t.Errorf("the schema takes %s", src)
		}
		if _, err := Parse("f", []byte(head+src)); err == nil {
			t.Errorf("the parser takes %s", src)
		}
	}
}
