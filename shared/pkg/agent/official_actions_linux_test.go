package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestOfficialRestartServiceTellsTheBus(t *testing.T) {
	t.Parallel()
	settings := "config: {units: [a.service, broken.service, forbidden.service], bus: DIR/bus}\n"
	atBothLevels(t, "actions/restart-service", settings, func(t *testing.T, o *official) {
		running := strings.NewReplacer("UP", `{"active": "active", "sub": "running"}`)
		fakeSystemd(t, o.dir, running.Replace(`{"a.service": UP, "broken.service": UP, "forbidden.service": UP}`))
		r := o.run(t, `{"unit": "a.service", "settle_seconds": 0}`)
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "active_state"); got["active_state"] != `"active"` {
			t.Errorf("%s", r.Result)
		}
		o.ended(o.run(t, `{"unit": "broken.service", "settle_seconds": 0}`), api.Failed, "journalctl -u broken.service")
		o.ended(o.run(t, `{"unit": "forbidden.service"}`), api.Failed, "a rule of polkit")
		o.ended(o.run(t, `{"unit": "other.service"}`), api.Failed, "not among the units that this host allows")
		if calls := read(t, filepath.Join(o.dir, "calls")); calls != "restart a.service replace\nrestart broken.service replace\nrestart forbidden.service replace\n" {
			t.Errorf("the bus was told:\n%s", calls)
		}
	})
}

// A request goes where the owner allowed, with what only the owner knows.
func TestOfficialHTTPRequestAsks(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path": %q, "key": %q, "body": %q}`, r.URL.Path, r.Header.Get("Key"), body)
	}))
	defer server.Close()
	settings := fmt.Sprintf("config: {urls: [%q], headers: {Key: secret}}\n", server.URL+"/v1")
	atBothLevels(t, "actions/http-request", settings, func(t *testing.T, o *official) {
		r := o.run(t, fmt.Sprintf(`{"url": %q, "method": "POST", "body": {"a": 1}}`, server.URL+"/v1/x"))
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "json")["json"]; strings.ReplaceAll(got, " ", "") != `{"body":"{\"a\":1}","key":"[redacted]","path":"/v1/x"}` {
			t.Errorf("%s", r.Result)
		}
		o.ended(o.run(t, fmt.Sprintf(`{"url": %q}`, server.URL+"/admin")), api.Failed, "not among the URLs that this host allows")
	})
}

// A file is written in the roots, and the sandbox holds the plugin to them.
func TestOfficialWriteFileWrites(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "actions/write-file", "config: {roots: [DIR/root]}\n", func(t *testing.T, o *official) {
		path := filepath.Join(o.dir, "root", "a.conf")
		write(t, path, "old")
		r := o.run(t, `{"path": "DIR/root/a.conf", "content": "new", "mode": "0640"}`)
		o.ended(r, api.Completed, "")
		if got := read(t, path) + " " + read(t, path+".bak"); got != "new old" {
			t.Errorf("the files have %q", got)
		}
		o.ended(o.run(t, `{"path": "DIR/other", "content": "new"}`), api.Failed, "outside of what this host allows")
	})
	atBothLevels(t, "actions/write-file", "write: [/usr]\nconfig: {roots: [DIR/root]}\n", func(t *testing.T, o *official) {
		write(t, filepath.Join(o.dir, "root", "b"), "")
		if r := o.run(t, `{"path": "DIR/root/a.conf", "content": "new"}`); r.Status != api.Failed {
			t.Errorf("written where the owner allows nothing: %s", r.Result)
		}
	})
}

func TestOfficialCleanupFilesRemoves(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "actions/cleanup-files", "config: {roots: [DIR]}\n", func(t *testing.T, o *official) {
		write(t, filepath.Join(o.dir, "below", "old.log"), "123")
		write(t, filepath.Join(o.dir, "keep.txt"), "123")
		r := o.run(t, `{"path": "DIR", "pattern": "*.log"}`)
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "removed_files", "kept_files"); got["removed_files"] != "1" || got["kept_files"] != "1" {
			t.Errorf("%s", r.Result)
		}
		if left := names(t, o.dir); !slices.Equal(left, []string{"below", "keep.txt"}) {
			t.Errorf("left are %q", left)
		}
	})
}

// A command sees what its owner granted it, and nothing of the host besides.
func TestOfficialRunCommandRuns(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "actions/run-command", "config: {allow: [/bin/cat], read: [DIR/shown]}\n", func(t *testing.T, o *official) {
		write(t, filepath.Join(o.dir, "shown"), "text")
		write(t, filepath.Join(o.dir, "hidden"), "text")
		r := o.run(t, `{"command": ["/bin/cat", "DIR/shown"]}`)
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "stdout")["stdout"]; got != `"text"` {
			t.Errorf("%s", r.Result)
		}
		o.ended(o.run(t, `{"command": ["/bin/cat", "DIR/hidden"]}`), api.Failed, "exit code 1")
		o.ended(o.run(t, `{"command": ["/bin/ls", "/"]}`), api.Failed, "not among the commands that this host allows")
	})
}

func TestOfficialRotateLogRotates(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "actions/rotate-log", "config: {roots: [DIR]}\n", func(t *testing.T, o *official) {
		for _, method := range []string{"copy", "rename"} {
			write(t, filepath.Join(o.dir, "app.log"), method)
			o.ended(o.run(t, fmt.Sprintf(`{"path": "DIR/app.log", "method": %q, "compress": false}`, method)), api.Completed, "")
		}
		if got := read(t, filepath.Join(o.dir, "app.log.1")) + " " + read(t, filepath.Join(o.dir, "app.log.2")); got != "rename copy" {
			t.Errorf("the old logs have %q", got)
		}
		o.ended(o.run(t, `{"path": "/var/log/x"}`), api.Failed, "outside of what this host allows")
	})
}

// Of Docker's API the plugin is let to the socket that the owner names, and no other.
func TestOfficialContainerRestartAsksDocker(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "actions/container-restart", "config: {containers: [web, broken], socket: DIR/docker.sock}\n", func(t *testing.T, o *official) {
		standIn(t, "docker.py", filepath.Join(o.dir, "docker.sock"))
		r := o.run(t, `{"container": "web", "settle_seconds": 0}`)
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "status", "health"); got["status"] != `"running"` || got["health"] != `"healthy"` {
			t.Errorf("%s", r.Result)
		}
		o.ended(o.run(t, `{"container": "broken", "settle_seconds": 0}`), api.Failed, "docker logs broken")
	})
	atBothLevels(t, "actions/container-restart", "write: [/usr]\nconfig: {containers: [web], socket: DIR/docker.sock}\n", func(t *testing.T, o *official) {
		standIn(t, "docker.py", filepath.Join(o.dir, "docker.sock"))
		o.ended(o.run(t, `{"container": "web"}`), api.Failed, "cannot reach Docker")
	})
}

// Signals leave no sandbox: the plugin says so, and works where its owner has none.
func TestOfficialKillProcessNeedsNoSandbox(t *testing.T) {
	t.Parallel()
	const settings = "config: {allow: [sleep]}\n"
	victim := func(t *testing.T) (parameters string, ended <-chan error) {
		cmd := exec.CommandContext(t.Context(), "/bin/sleep", "300")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		stat := read(t, fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		_, rest, _ := strings.Cut(stat, ") ")
		return fmt.Sprintf(`{"pid": %d, "start_ticks": %s}`, cmd.Process.Pid, strings.Fields(rest)[19]), done
	}
	for _, level := range []sandbox.Level{sandbox.Full, sandbox.Confined, sandbox.None} {
		t.Run(string(level), func(t *testing.T) {
			parameters, ended := victim(t)
			o := newOfficial(t, level, "actions/kill-process", settings, "STAVILY_SECURITY_SANDBOX_REQUIRE=none")
			r := o.run(t, parameters)
			if level != sandbox.None {
				o.ended(r, api.Failed, "a plugin in the sandbox reaches no process of the host")
				return
			}
			o.ended(r, api.Completed, "")
			if err := <-ended; err == nil || err.Error() != "signal: terminated" {
				t.Errorf("ended by %v", err)
			}
		})
	}
}
