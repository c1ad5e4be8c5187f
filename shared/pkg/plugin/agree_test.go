package plugin

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const agreeing = `
id: x
version: 1.0.0
type: action
runtime: {type: python, entry_point: main.py}
configuration:
  roots: {type: array, items: {type: string}, default: []}
  token: {type: string, secret: true}
  limit: {type: number, default: 85, minimum: 0}
parameters:
  path: {type: string, required: true, description: "Where"}
  mode: {type: string, enum: [fast, slow], default: fast, pattern: "^[a-z]"}
`

const told1 = `{"configuration": {
	"roots": {"type": "array", "items": {"type": "string"}, "default": []},
	"token": {"type": "string", "secret": true, "required": false},
	"limit": {"type": "number", "default": 85.0, "minimum": 0}
}, "parameters": {
	"path": {"type": "string", "required": true},
	"mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast", "pattern": "^[a-z]"}
}}`

func TestCodeAndManifestAgree(t *testing.T) {
	d, err := decodeManifest("plugin.yaml", []byte(agreeing))
	if err != nil {
		t.Fatal(err)
	}
	for name, said := range map[string]string{
		"all": told1, "nothing": `{}`, "null": `null`, "no answer": ``, "of another kind": `{"configuration": "none", "x": 1}`, "a list": `[]`,
	} {
		if errs, told := d.manifest.Disagreements(json.RawMessage(said)); errs != nil || told != (name == "all") {
			t.Errorf("%s: %v, told %v", name, errs, told)
		}
	}
	for _, c := range []struct{ from, to, want string }{
		{`"limit":`, `"limits":`, `configuration.limits: the code takes it and plugin.yaml does not declare it`},
		{`"limit":`, `"limits":`, `configuration.limit: plugin.yaml declares it and the code does not take it`},
		{`"number"`, `"integer"`, `configuration.limit: type is "number" in plugin.yaml and "integer" in the code`},
		{`{"type": "string"}`, `{"type": "object"}`, `configuration.roots: type of its items is "string" in plugin.yaml and "object" in the code`},
		{`"items": {"type": "string"}, `, ``, `configuration.roots: type of its items is "string" in plugin.yaml and not said in the code`},
		{`85.0`, `90`, `configuration.limit: default is 85 in plugin.yaml and 90 in the code`},
		{`"minimum": 0`, `"maximum": 100`, `configuration.limit: minimum is 0 in plugin.yaml and not said in the code`},
		{`"secret": true`, `"secret": false`, `configuration.token: secret is true in plugin.yaml and false in the code`},
		{`"required": true`, `"required": false`, `parameters.path: required is true in plugin.yaml and false in the code`},
		{`["fast", "slow"]`, `["fast"]`, `parameters.mode: enum is ["fast","slow"] in plugin.yaml and ["fast"] in the code`},
		{`^[a-z]`, `^[a-z]+`, `parameters.mode: pattern is "^[a-z]" in plugin.yaml and "^[a-z]+" in the code`},
		{`"number"`, `"nmber"`, `configuration: what the code says of it cannot be read: the code:`},
	} {
		said := strings.Replace(told1, c.from, c.to, 1)
		errs, _ := d.manifest.Disagreements(json.RawMessage(said))
		if err := errors.Join(errs...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s → %s: %v, want %s", c.from, c.to, err, c.want)
		}
	}
}

// What the SDK tells of a real plugin agrees with the manifest that it prints.
func TestTheSDKsManifestAgrees(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	run := func(input string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(python, args...)
		cmd.Env = append(os.Environ(), "PYTHONPATH=../../../sdk/python/src", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stdin, cmd.Stderr = strings.NewReader(input), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const main = "../../../sdk/python/tests/plugins/typed.py"
	printed := run("", "-m", "stavily.manifest", main)
	head := "id: x\nversion: 1.0.0\ntype: action\nruntime: {type: python, entry_point: main.py}\n"
	d, err := decodeManifest("plugin.yaml", append([]byte(head), printed...))
	if err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	if len(d.manifest.Configuration) == 0 || len(d.manifest.Parameters) == 0 {
		t.Fatalf("nothing was printed: %s", printed)
	}
	line, ok := DecodeLine(run(`{"action": "get_action_config"}`+"\n", main))
	if !ok || line.Response == nil || !line.Response.Success {
		t.Fatalf("%+v", line)
	}
	if errs, told := d.manifest.Disagreements(line.Response.Data); errs != nil || !told {
		t.Errorf("%v, told %v in %s", errs, told, line.Response.Data)
	}
	d.manifest.Parameters = nil
	if errs, _ := d.manifest.Disagreements(line.Response.Data); len(errs) != 1 {
		t.Errorf("%v, want one", errs)
	}
}
