package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// The value has letters outside ASCII, quotes and characters that URLs escape; the control
// stands where the value must not, so that a search that finds nothing is seen.
const (
	canarySecret  = `kanärie-"9c41/e7+b3`
	canaryControl = "control-51d7a0e2"
)

// TestASecretStaysWhereItBelongs gives a secret to a plugin that tells it in every way, and then
// looks for it in every byte that server and agent wrote and in all that operators are shown.
func TestASecretStaysWhereItBelongs(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "value")
	w.must(os.WriteFile(file, []byte(canarySecret+"\n"), 0o600))
	w.cliText("secrets", "set", "api", "--file", file)
	w.agent("a", api.Action, []string{"leaky-action"}, nil)
	w.start("a")
	w.apply(`name: leak
triggers: [{manual: {}}]
actions:
  - {id: tell, plugin: leaky-action, agents: {ids: [a]}, with: {headers: {auth: [` + canaryControl + `, "Bearer ${{ secrets.api }}"]}}}
  - {id: crash, plugin: leaky-action, needs: [tell], agents: {ids: [a]}, with: {crash: true, headers: {auth: ["", "Bearer ${{ secrets.api }}"]}}}
`)
	w.cliText("workflows", "run", "leak", "--by", "ann")
	w.await("the end of the run", func() error {
		if all := w.runs(); len(all) != 1 || all[0].Status != "failed" {
			return fmt.Errorf("runs %+v", all)
		}
		return nil
	})
	r := w.show(w.runs()[0].ID)
	var result struct{ SHA256 string }
	sum := sha256.Sum256([]byte(canarySecret))
	if err := json.Unmarshal(r.Steps[0].Result.Result, &result); err != nil || result.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the plugin was not given the value: %s, %v", r.Steps[0].Result.Result, err)
	}
	if text := string(r.Steps[0].Result.Result); strings.Count(text, telemetry.Redacted) < 5 {
		t.Errorf("the result is not masked but cut: %s", text)
	}
	shown := w.shown(r)
	w.cliText("secrets", "rotate")
	w.must(w.Process("a").Stop()) // so that all it has is on disk
	w.free(shown)
}

func (w *world) cliText(args ...string) []byte {
	w.t.Helper()
	text, err := w.CLI(w.ctx, args...)
	w.must(err)
	return text
}

// shown is what operators are shown of a run, by command.
func (w *world) shown(r run) map[string][]byte {
	out := map[string][]byte{}
	for _, args := range [][]string{
		{"runs", "show", r.ID, "-o", "json"}, {"runs", "show", r.ID}, {"runs", "logs", r.ID}, {"events", "list", "-o", "json"}, {"explain", r.EventID},
		{"audit", "list", "--limit", "500", "-o", "json"}, {"agents", "list", "-o", "json"}, {"workflows", "show", "leak"}, {"secrets", "list", "-o", "json"}, {"approvals", "list"},
	} {
		out[strings.Join(args, " ")] = w.cliText(args...)
	}
	if !bytes.Contains(out["runs logs "+r.ID], []byte("Bearer "+telemetry.Redacted)) || !bytes.Contains(out["audit list --limit 500 -o json"], []byte("secret.use")) {
		w.t.Errorf("the log does not show what is masked, or the audit no use:\n%s\n%s", out["runs logs "+r.ID], out["audit list --limit 500 -o json"])
	}
	return out
}

// free holds that no form of the value is in what was shown or in a file of server and agents.
func (w *world) free(texts map[string][]byte) {
	w.t.Helper()
	var value, control telemetry.Redactor
	value.Add(canarySecret)
	control.Add(canaryControl)
	w.must(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(w.dir, path)
		texts[name] = text
		return err
	}))
	controls := 0
	for name, text := range texts {
		if masked := value.Redact(string(text)); masked != string(text) {
			at := strings.Index(masked, telemetry.Redacted)
			w.t.Errorf("%s has the value: …%.200q", name, masked[max(0, at-100):])
		}
		if control.Redact(string(text)) != string(text) {
			controls++
		}
	}
	if controls < 3 { // database, journal, what is shown
		w.t.Errorf("the control was found in %d places of %d: this test would find nothing", controls, len(texts))
	}
}
