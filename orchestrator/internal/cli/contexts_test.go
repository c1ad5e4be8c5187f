package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

// TestContexts goes from an API token to operating a server over HTTPS, and back.
func TestContexts(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	s := servertest.Start(t)
	s.Apply("name: clean\ntriggers:\n  - event: disk.full\nactions:\n  - plugin: cleaner\n")
	browser := s.Browser("ann", account.Viewer)
	var made operatorapi.NewAPIToken
	if status, e := browser.Do("POST", "/api/v1/api-tokens", operatorapi.APITokenRequest{Name: "laptop", TTLSeconds: 3600}, &made); e != nil {
		t.Fatalf("%d %v", status, e)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(made.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(s.DataDir, "ca", "ca.crt")
	var health operatorapi.Health
	s.Do("GET", "/api/v1/health", nil, &health)
	wants := func(line string, code int, says string) {
		t.Helper()
		got, stdout, stderr := run(t, strings.Fields(line)...)
		if got != code || !strings.Contains(stdout+stderr, says) || strings.Contains(stdout+stderr, made.Secret) {
			t.Errorf("stavily %s = %d\n%s%s\nwant %d and %q, without the token", line, got, stdout, stderr, code, says)
		}
	}
	url := s.WebURL()
	wants("context add prod --url "+url+" --token-file "+token, exitUnreachable, "not added") // nobody vouches for the certificate
	wants("context add prod --url "+strings.Replace(url, "https", "http", 1)+" --token-file "+token, exitUsage, "must be https")
	wants("context add local --url "+url+" --token-file "+token, exitUsage, "local server")
	wants("context add prod --url "+url, exitUsage, "--token-file are required")
	wants("context add prod --url "+url+" --token-file "+ca, exitFailed, "one word")
	wants("context list", exitOK, "*       local")
	wants("context add prod --url "+url+" --ca-file "+ca+" --token-file "+token, exitOK, "Context prod is added")
	wants("context add pinned --url "+url+" --ca-fingerprint "+health.CAFingerprint+" --token-file "+token, exitOK, "Context pinned is added")
	wants("--context prod workflows list", exitOK, "clean")
	wants("--context pinned workflows list", exitOK, "clean")
	wants("--context other workflows list", exitUsage, "no context \"other\"")
	wants("--context prod workflows list --org other", exitUsage, "the organisation of its token")
	wants("--context prod --data-dir /x workflows list", exitUsage, "two servers")
	wants("--context prod workflows delete clean", exitFailed, "admin") // the token is a viewer's
	for _, line := range []string{"fsck", "audit verify", "backup /nowhere/b", "restore /nowhere/b", "migrate", "migrate revert 1"} {
		wants("--context prod "+line, exitUsage, "works on the database of this host and not with a context: leave out --context")
	}
	wants("--context prod server --lease 1s", exitUsage, "server works on the data directory of this host and not with a context: leave out --context")
	for _, line := range []string{"version", "workflows schema", "workflows test /nowhere/w", "workflows validate /nowhere/w", "workflows graph /nowhere/w",
		"context list", "context use pinned", "context remove pinned", "login pinned --user ann"} {
		wants("--context prod "+line, exitUsage, "and not with a context: leave out --context")
	}
	wants("context use prod", exitOK, "")
	wants("fsck --data-dir "+s.DataDir, exitOK, " 0 findings")
	wants("context list", exitOK, "*       prod")
	wants("workflows list", exitOK, "clean")
	wants("--context prod doctor", exitFailed, "operator")
	wants("--data-dir "+t.TempDir()+" workflows list", exitUnreachable, "no server answers")
	file := filepath.Join(home, "stavily", "contexts.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of contexts: %v, %v; want mode 0600", info.Mode(), err)
	}
	wants("context use local", exitOK, "")
	wants("context use nothing", exitFailed, "no context")
	wants("context remove prod", exitOK, "removed")
	wants("context list -o json", exitOK, "pinned")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	wants("workflows list", exitFailed, "chmod 600")
	wants("version", exitOK, "stavily") // needs no server
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(file, 0o600)
	wants("workflows list", exitFailed, "contexts.json")
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, "")
	}
	wants("workflows list", exitUnreachable, "no server answers at") // as a service's user, who has no home
}

// TestTokensGoNowhereElse holds that a token is not sent where a server redirects to.
func TestTokensGoNowhereElse(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer elsewhere.Close()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("came with %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	client := operatorapi.NewRemote(srv.URL, "secret", srv.Client().Transport.(*http.Transport).TLSClientConfig)
	defer client.Close()
	if err := client.Do(t.Context(), "GET", "/api/v1/runs", nil, nil, nil); err == nil || asked > 0 {
		t.Errorf("a redirect: %v, and %d requests elsewhere", err, asked)
	}
}

// TestNoContextOfTheEnvironmentForThisHost is of commands that work on the data of this host.
func TestNoContextOfTheEnvironmentForThisHost(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(envContext, "prod")
	t.Setenv(envDataDir, t.TempDir())
	for _, args := range [][]string{{"fsck"}, {"audit", "verify"}, {"server", "--lease", "1s"}} {
		var errs bytes.Buffer
		root := New()
		root.SetErr(&errs)
		if code := Execute(t.Context(), root, args); code != exitUsage || !strings.Contains(errs.String(), "leave out "+envContext) {
			t.Errorf("%v: %d, %s", args, code, &errs)
		}
	}
}

// TestContextOfTheEnvironmentBesideFiles holds that a context for the commands that operate a
// server is in nobody's way who looks at files.
func TestContextOfTheEnvironmentBesideFiles(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(envContext, "prod")
	for _, args := range [][]string{{"workflows", "schema"}, {"version"}, {"context", "list"}} {
		var errs bytes.Buffer
		root := New()
		root.SetOut(io.Discard)
		root.SetErr(&errs)
		if code := Execute(t.Context(), root, args); code != exitOK {
			t.Errorf("%v: %d, %s", args, code, &errs)
		}
	}
}

// TestTheTablesOfContextsNameCommands keeps a command that was renamed from losing its line. Those of
// other packages are tried beside the program's main function.
func TestTheTablesOfContextsNameCommands(t *testing.T) {
	root := New()
	for _, table := range []map[string]string{hostOf, serverless} {
		for name := range table {
			c, _, err := root.Find(strings.Fields(name))
			if elsewhere := []string{"dev", "demo", "keys", "plugin"}; !slices.Contains(elsewhere, name) && (err != nil || pathIn(c) != name) {
				t.Errorf("there is no command %q", name)
			}
		}
	}
}
