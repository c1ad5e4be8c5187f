package browser

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/stavily/agents/shared/pkg/bundle"
)

// pack makes the package of a version of the plugin worker that connects to a destination.
func (w *world) pack(version, destination string) (file string) {
	w.t.Helper()
	dir := w.t.TempDir()
	w.must(os.CopyFS(dir, os.DirFS("testdata/plugins/worker")))
	manifest := "id: worker\nversion: " + version + "\ntype: action\nruntime: {type: python, entry_point: main.py, contract: script}\npermissions: {network: ['" + destination + "']}\n"
	w.must(os.WriteFile(filepath.Join(dir, "plugin.yaml"), []byte(manifest), 0o600))
	var b bytes.Buffer
	_, err := bundle.Pack(&b, dir, nil)
	w.must(err)
	file = filepath.Join(w.t.TempDir(), "worker-"+version+".tar.gz")
	w.must(os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

// TestPluginsStory publishes two versions by the page, compares what they ask for, approves,
// assigns and unassigns.
func TestPluginsStory(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	for version, destination := range map[string]string{"2.0.0": "a.example:443", "2.1.0": "b.example:443"} {
		b.visit("/plugins")
		b.do(chromedp.SetUploadFiles(chromedp.CSS("[name=package]"), []string{w.pack(version, destination)}))
		b.press("Publish")
		b.until(`location.pathname === "/plugins/worker" && document.querySelector("main").innerText.includes(%q)`, version)
	}
	b.visit("/plugins/worker?from=2.0.0&to=2.1.0")
	b.until(`/\+ .*b\.example:443/.test(document.getElementById("asks").innerText) && /- .*a\.example:443/.test(document.getElementById("asks").innerText)`)
	b.shoot("plugin-compared")
	b.named("/plugins/worker")
	b.fill("[name=selector][required]", "all")
	b.press("Assign")
	b.until(`document.querySelector("section .panel a[href='/agents/act-1']") !== null`)
	b.press("Approve what it asks for")
	b.until(`[...document.querySelectorAll("h3 .st")].some(state => state.textContent === "approved")`)
	b.shoot("plugin-assigned")
	b.press("Unassign")
	b.see("It is assigned to nobody.")
	b.visit("/agents/act-1")
	b.see("Serial")
	b.shoot("agent-facts")
}
