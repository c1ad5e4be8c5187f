package seatbelt

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// plugin is what a plugin is granted that asks for little.
var plugin = Policy{
	Read: []string{
		"/opt/homebrew/Cellar/python@3.12",
		"/Library/Application Support/Stavily/plugins/disk",
		"/private/var/log",
	},
	Write:  []string{"/Library/Application Support/Stavily/tmp/17", "/Library/Application Support/Stavily/home/disk"},
	Masks:  []string{"/Library/Application Support/Stavily"},
	Socket: "/Library/Application Support/Stavily/tmp/17/agent.sock",
	Ports:  []uint16{443, 80, 443},
}

func TestProfile(t *testing.T) {
	got := strings.Join(plugin.Command([]string{"/usr/bin/python3", "-I", "main.py"}), "\n") + "\n"
	golden := filepath.Join("testdata", "plugin.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run with -update and look at the difference: %s", diff)
	}
}

// effects are a policy's rules, with the paths in place of the parameters.
func effects(p Policy) []string {
	var out []string
	for _, r := range p.rules() {
		if r.effect != looks {
			out = append(out, strings.Replace(r.effect, "%s", r.path, 1))
		}
	}
	return out
}

func TestTheDeepestPathDecides(t *testing.T) {
	got := effects(Policy{
		Read:  []string{"/a/b/c", "/", "/a/b"},
		Write: []string{"/a/b/c/d", "/x"},
		Masks: []string{"/a/b", "/a"},
	})
	want := []string{
		"(allow file-read* process-exec* (subpath /))",
		"(deny file-read* file-write* process-exec* (subpath /a))",
		"(allow file-read* file-write* process-exec* (subpath /x))",
		"(allow file-read* process-exec* (subpath /a/b))",
		"(deny file-read* file-write* process-exec* (subpath /a/b))",
		"(allow file-read* process-exec* (subpath /a/b/c))",
		"(allow file-read* file-write* process-exec* (subpath /a/b/c/d))",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// No name of a file or a host gets into the text.
func TestPathsAreParameters(t *testing.T) {
	evil := `/a"))(allow default)(allow file-read* (subpath "/`
	command := Policy{Read: []string{evil}, Write: []string{evil + "b"}, Socket: evil + "s"}.Command([]string{"/bin/true"})
	if strings.Contains(command[2], "allow default") {
		t.Errorf("the profile says %s", command[2])
	}
	for _, path := range []string{evil, evil + "b", evil + "s"} {
		if !slices.ContainsFunc(command[3:], func(s string) bool { return strings.HasSuffix(s, "="+path) }) {
			t.Errorf("%s is no parameter", path)
		}
	}
}

func TestNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		policy   Policy
		has, not []string
	}{
		"none": {Policy{}, nil, []string{"network", "mDNSResponder"}},
		"socket": {Policy{Socket: "/s"}, []string{`(allow network-outbound (literal (param "P1")))`},
			[]string{"remote tcp", "mDNSResponder"}},
		"ports": {Policy{Ports: []uint16{80}}, []string{`(remote tcp "*:80")`, "mDNSResponder"}, []string{"network*"}},
		"all":   {Policy{Network: true, Ports: []uint16{80}}, []string{"(allow network*)", "mDNSResponder"}, []string{"remote tcp"}},
	} {
		text, _ := c.policy.profile()
		for _, s := range c.has {
			if !strings.Contains(text, s) {
				t.Errorf("%s: want %s in %s", name, s, text)
			}
		}
		for _, s := range c.not {
			if strings.Contains(text, s) {
				t.Errorf("%s: %s in %s", name, s, text)
			}
		}
	}
}

// The text is at least what a reader of its language takes: brackets match, strings
// end, every parameter is given.
func TestSyntax(t *testing.T) {
	for _, p := range []Policy{{}, plugin, {Network: true, Read: []string{"/"}}} {
		text, params := p.profile()
		depth := 0
		for line := range strings.Lines(text) {
			code, _, _ := strings.Cut(line, ";")
			if strings.Count(code, `"`)%2 != 0 {
				t.Errorf("a string does not end: %s", line)
			}
			depth += strings.Count(code, "(") - strings.Count(code, ")")
			if depth < 0 {
				t.Errorf("a bracket too many: %s", line)
			}
		}
		if depth != 0 {
			t.Errorf("%d brackets are open at the end", depth)
		}
		for i := range params {
			if !strings.Contains(text, `(param "`+param(i)+`")`) {
				t.Errorf("%s is not used", param(i))
			}
		}
		if strings.Contains(text, `(param "`+param(len(params))+`")`) {
			t.Errorf("%s is not given", param(len(params)))
		}
	}
}
