package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

// A login keeps a token of the user's role, and neither the password nor a session.
func TestLogin(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	s := servertest.Start(t)
	s.Browser("ann", account.Operator)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, wrong := file("good", servertest.Password+"\n"), file("wrong", "something else\n")
	wants := func(line string, code int, says string) {
		t.Helper()
		got, stdout, stderr := run(t, strings.Fields(line)...)
		if got != code || !strings.Contains(stdout+stderr, says) {
			t.Errorf("stavily %s = %d\n%s%s\nwant %d and %q", line, got, stdout, stderr, code, says)
		}
	}
	at := " --url " + s.WebURL() + " --ca-file " + filepath.Join(s.DataDir, "ca", "ca.crt")
	wants("login prod --user ann --password-file "+good, exitUsage, "--url is required")
	wants("login prod --password-file "+good+at, exitUsage, "--user is required")
	wants("login prod --user ann"+at, exitUsage, "no terminal")
	wants("login local --user ann --password-file "+good+at, exitUsage, "local server")
	wants("login prod --user ann --password-file "+wrong+at, exitFailed, "password")
	wants("login prod --user other/ann --password-file "+good+at, exitFailed, "password")
	wants("context list", exitOK, "*       local")
	wants("login prod --user ann --password-file "+good+at, exitOK, "You are ann with the role operator")
	wants("workflows list", exitOK, "")
	wants("users list", exitFailed, "admin")
	wants("login prod --user ann --role viewer --password-file "+good, exitOK, "with the role viewer")
	wants("doctor", exitFailed, "operator")
	s.Browser("root", account.Admin)
	wants("login root --user root --password-file "+good+at, exitOK, "with the role admin")
	wants("users add bob --role viewer", exitFailed, "User bob is added, and has no link yet")
	wants("users add ci --role viewer --no-link", exitOK, "User ci is viewer")
	wants("users invite root", exitFailed, "A token makes no link")
	text, err := os.ReadFile(filepath.Join(home, "stavily", "contexts.json"))
	if err != nil || strings.Contains(string(text), servertest.Password) {
		t.Errorf("contexts: %s, %v", text, err)
	}
	var tokens []operatorapi.APIToken
	if s.Do("GET", "/api/v1/api-tokens", nil, &tokens); len(tokens) != 3 {
		t.Errorf("%d tokens, want 3", len(tokens))
	}
}
