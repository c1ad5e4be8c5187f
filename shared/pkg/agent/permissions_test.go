//go:build linux

package agent

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// fenced is one block of code of a document.
var fenced = regexp.MustCompile("(?ms)^```(yaml|text)\n(.*?)^```$")

// The examples of the documentation are what an agent decides: each is what a manifest
// asks, what the owner wrote, and what comes of it.
func TestTheDocumentedPermissions(t *testing.T) {
	const name = "../../../docs/plugins/permissions.md"
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced.FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 12 || len(blocks)%3 != 0 {
		t.Fatalf("%d blocks: want three for each of at least four examples", len(blocks))
	}
	for i := 0; i < len(blocks); i += 3 {
		asks, owner, want := blocks[i][2], blocks[i+1][2], blocks[i+2][2]
		t.Run(strings.TrimSpace(owner), func(t *testing.T) {
			of := api.Action
			if strings.Contains(asks, "type: sensor") {
				of = api.Sensor
			}
			h := newHost(t, of, map[string]string{
				"shown":      "runtime: {type: python, entry_point: main.py, contract: stdio}\n" + asks + "---\n",
				"shown.yaml": "plugin: shown\n" + owner,
			})
			g, err := h.grants(h.task("shown"))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, d := range g.Account {
				got.WriteString(d.String() + "\n")
			}
			if got.String() != want {
				t.Errorf("%s says\n%s\nand the agent decides\n%s", name, want, got.String())
			}
		})
	}
}
