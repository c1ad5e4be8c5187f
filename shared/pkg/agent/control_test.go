//go:build unix

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// owned has the host answer at its control socket until the test ends.
func (h *host) owned() *host {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.rt.control(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.eventually("the socket", func() bool { // its file is there a moment before it listens
		conn, err := net.Dial("unix", filepath.Join(h.base, controlName))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return h
}

// cli runs a command of the agent's program against this host.
func (h *host) cli(args ...string) (stdout, stderr string, err error) {
	h.t.Helper()
	cmd := newCommand(h.rt.Role)
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(append(args, "--agent-id", "web-01", "--base-dir", h.base, "--base-url", "https://127.0.0.1:1"))
	err = cmd.ExecuteContext(h.t.Context())
	return out.String(), errs.String(), err
}

// does fails unless the command ends well and prints all of this.
func (h *host) does(args string, says ...string) string {
	h.t.Helper()
	out, errs, err := h.cli(strings.Fields(args)...)
	for _, text := range says {
		if err != nil || !strings.Contains(out+errs, text) {
			h.t.Errorf("%s: %v, want %q in:\n%s%s", args, err, text, out, errs)
		}
	}
	return out
}

// fails fails unless the command fails with all of this.
func (h *host) fails(args string, says ...string) {
	h.t.Helper()
	out, _, err := h.cli(strings.Fields(args)...)
	for _, text := range says {
		if err == nil || !strings.Contains(err.Error(), text) {
			h.t.Errorf("%s: error %v, want %q\n%s", args, err, text, out)
		}
	}
}

// packed makes a package of a directory, which nobody signs where s is nil.
func packed(t *testing.T, dir string, s *bundle.Signer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.tar.gz")
	f, err := os.Create(path)
	if err == nil {
		_, err = bundle.Pack(f, dir, s)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// Everything that the host's owner does with plugins, with the running agent.
func TestPluginsCommands(t *testing.T) {
	const manifest = "id: q\nversion: VERSION\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n"
	version := func(v string) string { return strings.Replace(manifest, "VERSION", v, 1) }
	h := newHost(t, api.Action, map[string]string{"edited": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("x")})
	h.following().owned()

	one := dirOf(t, version("1.0.0"), sdkSays("one"))
	h.fails("plugins install "+one, "is not signed", "--allow-unsigned")
	h.does("plugins install --allow-unsigned "+one, "q 1.0.0 is installed", "loading …")
	h.does("plugins install --allow-unsigned "+one, "it was in use already")
	two := dirOf(t, version("2.0.0")+"permissions: {filesystem: {write: [/srv]}}\n", sdkSays("two"))
	h.fails("plugins install --allow-unsigned "+two, "asks for more than 1.0.0", "write /srv", "--approve")
	h.does("plugins install --allow-unsigned --approve "+two, "q 2.0.0 is installed (before: 1.0.0)")
	if got := h.answers("q"); got != `"two"` {
		t.Errorf("then it answers %s", got)
	}
	h.fails("plugins install --allow-unsigned "+dirOf(t, version("3.0.0"), "raise SystemExit('no luck')"), "does not load", "no luck")
	h.fails("plugins install "+packed(t, two, nil), "signed", "--allow-unsigned")
	h.does("plugins install --allow-unsigned "+packed(t, two, nil), "q 2.0.0 is installed")
	stranger, err := bundle.NewKey("stranger")
	if err != nil {
		t.Fatal(err)
	}
	h.fails("plugins install "+packed(t, two, stranger), "not trusted here", "--allow-unsigned")
	h.does("plugins install --allow-unsigned "+packed(t, two, stranger), "q 2.0.0 is installed")
	h.fails("plugins install --allow-unsigned "+t.TempDir(), "holds no plugin.yaml")
	h.fails("plugins install --allow-unsigned /nothing/there", "no such file")

	out := h.does("plugins list", "ID", "q", "2.0.0", "ready", "edited")
	if lines := strings.Count(out, "\n"); lines != 3 {
		t.Errorf("%d lines, want 3:\n%s", lines, out)
	}
	h.does("plugins show q", "DIGEST", "sha256:", "APPROVED BY", "the host's owner", "ENVIRONMENT", "Python 3", "write /srv", "rollback goes back to it", "in use")
	var d PluginDetails
	if err := json.Unmarshal([]byte(h.does("plugins show q -o json")), &d); err != nil || d.Version != "2.0.0" || len(d.Versions) != 2 || len(d.Asks) != 1 || d.Origin.From != two {
		t.Errorf("details %+v, %v", d, err)
	}
	var states []PluginState
	if err := json.Unmarshal([]byte(h.does("plugins list -o json")), &states); err != nil || len(states) != 2 {
		t.Errorf("states %+v, %v", states, err)
	}

	for _, id := range []string{"q", "edited"} {
		h.does("plugins disable "+id, id+" is disabled")
		h.does("plugins list", "disabled")
		if _, err := h.Find(api.PluginID(id)); err == nil || !strings.Contains(err.Error(), "plugins enable "+id) {
			t.Errorf("%s can be found: %v", id, err)
		}
	}
	h.edit("edited/main.py", sdkSays("y"))
	h.manifest("edited", "1.1.0", "stdio")
	h.eventually("the edited version", func() bool { return h.Infos()[0].Version == "1.1.0" })
	if info := h.Infos()[0]; info.State != "disabled" {
		t.Errorf("an edit enables: %+v", info)
	}
	h.does("plugins enable q", "q is enabled")
	h.does("plugins rollback q", "q 1.0.0 is rolled back (before: 2.0.0)")
	if got := h.answers("q"); got != `"one"` {
		t.Errorf("then it answers %s", got)
	}
	h.does("plugins rollback q", "q 2.0.0 is rolled back (before: 1.0.0)")
	h.does("plugins remove q", "q is removed")
	h.fails("plugins show q", "not installed")
	h.fails("plugins rollback edited", "put the files there back")
	h.fails("plugins remove edited", "which its owner edits")
	for _, verb := range []string{"enable", "disable", "remove", "rollback"} {
		h.fails("plugins "+verb+" nowhere", "not installed")
		h.fails("plugins "+verb+" ../x", "plugin id")
	}
	h.fails("plugins show ../x", "plugin id")
	h.fails("plugins logs ../x", "plugin id")
	h.fails("plugins list -o xml", "must be table or json")
	h.collect()
	if got := names(t, filepath.Join(h.base, "data", "plugins")); strings.Join(got, " ") != "edited" {
		t.Errorf("data/plugins holds %q", got)
	}
}

// What is disabled stays so over a start, whichever way it was installed.
func TestDisabledStaysDisabled(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"edited": "type: action\nruntime: {type: python, entry_point: main.py, contract: script}\n---\n" + says(`1`)})
	if _, err := h.Install(t.Context(), h.aside("id: q\nversion: 1.0.0\ntype: action\nruntime: {type: python, entry_point: main.py, contract: script}\n", says("1")), originOfTest, nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []api.PluginID{"edited", "q"} {
		if err := h.SetEnabled(id, false); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	for _, id := range []api.PluginID{"edited", "q"} {
		if _, err := h.Find(id); err == nil || !strings.Contains(err.Error(), "is disabled") {
			t.Errorf("%s after a start: %v", id, err)
		}
		if err := h.SetEnabled(id, true); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	if h.answers("edited") != "1" || h.answers("q") != "1" {
		t.Error("enabled again they do not run")
	}
}

// The socket is the owner's, survives a killed agent, and says so where there is none.
func TestControlSocket(t *testing.T) {
	h := newHost(t, api.Action, nil)
	h.fails("plugins list", "no agent runs with base directory "+h.base)
	path := filepath.Join(h.base, controlName)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	h.fails("plugins list", "no agent runs with base directory")
	h.owned()
	h.eventually("an answer", func() bool { _, _, err := h.cli("plugins", "list"); return err == nil })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v; want 0600", info.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if uid, known, err := peerOf(conn.(*net.UnixConn)); err != nil || !known || uid != os.Geteuid() {
		t.Errorf("at the other end is %d, %v, %v", uid, known, err)
	}
	h.rt.Config().Agent.BaseDir = filepath.Join(h.base, strings.Repeat("x", 100))
	if err := h.rt.serveControl(t.Context()); err == nil || !strings.Contains(err.Error(), "shorter base directory") {
		t.Errorf("a path that is too long: %v", err)
	}
	h.rt.Config().Agent.BaseDir = h.base
}

// The end of a log, and what comes, over a rotation; nothing that a plugin wrote drives
// the terminal.
func TestPluginsLogs(t *testing.T) {
	h := newHost(t, api.Action, nil)
	path := filepath.Join(h.base, "logs", "plugins", "p.log")
	h.fails("plugins logs p", "has written no log")
	write(t, path, "one\ntwo\nthr\x1b[2Jee\n")
	if out := h.does("plugins logs -n 2 p"); out != "two\nthr\\x1b[2Jee\n" {
		t.Errorf("printed %q", out)
	}
	if out := h.does("plugins logs -n 0 p"); out != "" {
		t.Errorf("printed %q, want nothing", out)
	}
	h.fails("plugins logs -n -1 p", "must be 0 or more")

	ctx, cancel := context.WithCancel(t.Context())
	out := &lines{}
	var following sync.WaitGroup
	following.Go(func() {
		if err := printLog(ctx, path, 1, true, out); err != nil {
			t.Error(err)
		}
	})
	h.eventually("the beginning", func() bool { return strings.Contains(out.String(), "ee\n") })
	more, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	more.WriteString("half")
	time.Sleep(2 * followPause)
	more.WriteString(" a line\n")
	h.eventually("the line", func() bool { return strings.Contains(out.String(), "half a line\n") })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	more.WriteString("last\n")
	more.Close()
	write(t, path, "new\n")
	h.eventually("the next file", func() bool { return strings.HasSuffix(out.String(), "half a line\nlast\nnew\n") })
	cancel()
	following.Wait()
}

// Reload and log level at the control socket, with what the agent answers.
func TestTheOwnerReloads(t *testing.T) {
	h := newHost(t, api.Action, nil)
	log, logging, err := openLog(h.rt.Config(), h.rt.secrets)
	if err != nil {
		t.Fatal(err)
	}
	defer logging.Close()
	h.rt.Log, h.rt.logging = log, logging
	set := configured(t, h.rt)
	h.owned()
	set("plugins: {timeout: 7m}\nspool: {max_bytes: 8MiB}\n")
	h.does("reload", `in force         plugins.timeout: "5m" → "7m"`, "agent.yaml:1:20", `needs a restart  spool.max_bytes: "256MiB" → "8MiB"`)
	set("plugins: {timeout: 7}\n")
	h.fails("reload", "agent.yaml:1:20", "is not a duration")
	h.does("log-level debug", "logs at level debug until the next reload or start")
	if !log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the level is not in force")
	}
	h.fails("log-level loud", "must be debug, info, warn or error")
	set("plugins: {timeout: 7m}\nspool: {max_bytes: 8MiB}\n")
	if out := h.does("reload -o json", `"restart":true`); strings.Contains(out, "plugins.timeout") {
		t.Errorf("%s: the timeout is in force already", out)
	}
	isRecorded(t, h.rt, AuditConfigured, `"by":"control socket"`, `"level":"debug"`)
}
