package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

var update = flag.Bool("update", false, "write the golden files")

// run executes a command line and returns its exit code and what it printed.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv(envDataDir, "")
	t.Setenv(envContext, "")
	if os.Getenv("XDG_CONFIG_HOME") == "" {
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	}
	var out, errs bytes.Buffer
	root := New()
	root.SetOut(&out)
	root.SetErr(&errs)
	code = Execute(t.Context(), root, args)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	s := servertest.Start(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: x\nbogus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
		says string // on standard error
	}{
		{[]string{"version"}, exitOK, ""},
		{[]string{"agents"}, exitOK, ""},
		{[]string{"agents", "list"}, exitOK, ""},
		{nil, exitOK, ""},
		{[]string{"bogus"}, exitUsage, "unknown command"},
		{[]string{"agnets"}, exitUsage, "did you mean \"agents\"?"},
		{[]string{"agents", "lst"}, exitUsage, "did you mean \"list\"?"},
		{[]string{"agents", "bogus"}, exitUsage, "unknown command"},
		{[]string{"agents", "list", "--bogus"}, exitUsage, "unknown flag"},
		{[]string{"agents", "list", "extra"}, exitUsage, "unknown command"},
		{[]string{"agents", "show"}, exitUsage, "accepts 1 arg"},
		{[]string{"agents", "list", "-o", "xml"}, exitUsage, "must be table, json or yaml"},
		{[]string{"agents", "list", "--org", "Not An Org"}, exitUsage, "organization id"},
		{[]string{"tokens", "create"}, exitUsage, "must be sensor or action"},
		{[]string{"workflows", "apply"}, exitUsage, "--file is required"},
		{[]string{"replay", "E1"}, exitUsage, "give a file"},
		{[]string{"replay", "--workflow", "w"}, exitUsage, "name an event"},
		{[]string{"replay", "E1", "--since", "1h", "--workflow", "w"}, exitUsage, "name an event"},
		{[]string{"replay", "E1", "--workflow", "w"}, exitFailed, "E1"},
		{[]string{"workflows", "diff"}, exitUsage, "name a workflow"},
		{[]string{"workflows", "diff", "-f", bad}, exitFailed, bad + ":2:1: "},
		{[]string{"workflows", "history", "nothing"}, exitFailed, "nothing"},
		{[]string{"workflows", "rollback", "nothing"}, exitFailed, "no such version"},
		{[]string{"server", "--lease", "2s"}, exitUsage, "at least 3s"},
		{[]string{"server", "--log-level", "loud"}, exitUsage, "--log-level"},
		{[]string{"agents", "show", "nobody"}, exitFailed, "nobody"},
		{[]string{"agents", "revoke", "nobody"}, exitFailed, "nobody"},
		{[]string{"runs", "logs", "nothing"}, exitFailed, "nothing"},
		{[]string{"runs", "retry", "nothing"}, exitFailed, "nothing"},
		{[]string{"server", "--hostname", "a.example.com", "--hostname", "https://a"}, exitUsage, `"https://a": must be a host name or an IP address, without scheme and port`},
		{[]string{"server", "--hostname", "a:8443"}, exitUsage, "--hostname"},
		{[]string{"server", "--hostname", "bad host"}, exitUsage, "--hostname"},
		{[]string{"server", "--hostname", "-a"}, exitUsage, "--hostname"},
		{[]string{"server", "--hostname", ""}, exitUsage, "--hostname"},
		{[]string{"server", "--hostname", "my_host-1.b.c", "--hostname", "10.0.0.5", "--hostname", "fd00::1", "--lease", "2s"}, exitUsage, "stavily: --lease"}, // the names are good
		{[]string{"agents", "list", "--status", "banana"}, exitUsage, `--status "banana": must be one of online, draining, `},
		{[]string{"agents", "list", "--type", "Sensor"}, exitUsage, "must be one of sensor, action"},
		{[]string{"runs", "list", "--status", "Failed"}, exitUsage, "must be one of queued, running, completed, failed, cancelled, escalated"},
		{[]string{"events", "list", "--severity", "banana"}, exitUsage, "must be one of low, medium, high, critical"},
		{[]string{"audit", "verify", "--seq", "999"}, exitFailed, "there is no record 999: "},
		{[]string{"audit", "verify", "--seq", "-3"}, exitUsage, "--seq -3: must be the number of a record, from 1"},
		{[]string{"audit", "verify", "--seq", "0"}, exitUsage, "--seq 0"},
		{[]string{"tokens", "create", "--type", "sensor", "--ttl", "0s"}, exitUsage, "--ttl 0s: must be at least 1s"},
		{[]string{"tokens", "create", "--type", "sensor", "--ttl", "1ms"}, exitUsage, "--ttl 1ms"},
		{[]string{"api-tokens", "create", "x", "--ttl", "0s"}, exitUsage, "--ttl 0s: must be at least 1s"},
		{[]string{"api-tokens", "create", "x", "--area", "runs", "--area", "banana"}, exitUsage, `--area "banana": must be one of agents, api-tokens, approvals, `},
		{[]string{"tokens", "create", "--type", "sensor", "--ttl", "48h"}, exitUsage, "--ttl 48h0m0s: must be at most 24h"},
		{[]string{"workflows", "apply", "-f", "no-such-file"}, exitFailed, "no-such-file: no such file"},
		{[]string{"workflows", "apply", "-f", bad}, exitFailed, bad + ":2:1: "},
		{[]string{"agents", "list", "--data-dir", t.TempDir()}, exitUnreachable, "stavily server"},
	} {
		code, _, stderr := run(t, append([]string{"--data-dir", s.DataDir}, c.args...)...)
		if strings.HasPrefix(c.says, bad) && !strings.HasPrefix(stderr, bad) {
			t.Errorf("stavily %s: %q does not begin with the place", strings.Join(c.args, " "), stderr)
		}
		if code != c.want || !strings.Contains(stderr, c.says) {
			t.Errorf("stavily %s = %d and %q, want %d and %q", strings.Join(c.args, " "), code, stderr, c.want, c.says)
		}
		if code == exitUsage && !strings.Contains(stderr, "--help") {
			t.Errorf("stavily %s: %q does not lead to the help", strings.Join(c.args, " "), stderr)
		}
	}
}

// TestAWrongValueIsWrongUsage holds that a value that can never be good ends as an unknown flag does: before
// anything is done, and whether or not a server answers.
func TestAWrongValueIsWrongUsage(t *testing.T) {
	dir := t.TempDir()
	const start = "server --listen 127.0.0.1:0 --web-listen= "
	for _, c := range []struct{ line, says string }{
		{start + "--keep-runs banana", "no time, as in 30d"},
		{start + "--keep-runs -5d", "no number of days"},
		{start + "--keep-runs 5d", "--keep-runs 5d: must be at least 31d, or 0"},
		{start + "--keep-free -1", "--keep-free"},
		{start + "--certificate-lifetime 1s", "--certificate-lifetime 1s: must be from 3s to "},
		{start + "--renewal-grace -1s", "--renewal-grace"},
		{start + "--trust-domain A:B", "--trust-domain: "},
		{start + "--accept-ca banana", "--accept-ca"},
		{start + "--trace-sampler most", "--trace-sampler"},
		{start + "--otlp-endpoint banana", "--otlp-endpoint"},
		{start + "--oidc-issuer http://id.example", "--oidc-issuer"},
		{start + "--oidc-issuer https://id.example", "--oidc-client-id is missing"},
		{start + "--oidc-client-id x", "--oidc-issuer"},
		{start + "--web-key x", "both"},
		{start + "--secrets-key-file x --secrets-key-command y", "say one of them"},
		{start + "--metrics-listen banana", `--metrics-listen "banana": must be HOST:PORT`},
		{"server --listen 127.0.0.1:99999", "--listen"},
		{"server --listen 127.0.0.1:0 --web-listen banana", "--web-listen"},
		{"tokens create --type sensor --agent-id a/b", "--agent-id"},
		{"api-tokens create x --ttl 99999h", "--ttl 99999h0m0s: must be at most "},
		{"login x --url https://h --user u --ttl -1h", "--ttl"},
		{"login x --url http://h --user u", "must be https"},
		{"login x --url https://h --user u --role banana", "--role"},
		{"context add x --url https://h --token-file t --ca-fingerprint z", "sha256:"},
		{"audit list --after banana", "--after"},
		{"audit list --after -1", "--after"},
		{"runs list --limit -1", "--limit"},
		{"runs list --since banana", "--since"},
		{"workflows history x --limit 501", "--limit 501: must be from 1 to 500"},
		{"workflows diff x --from -1", "0 or more"},
		{"workflows rollback x --to -1", "0 or more"},
		{"workflows apply -f x --if-version -1", "0 or more"},
		{"replay E1 --workflow w --version -1", "0 or more"},
		{"debug profile --for -1s", "--for -1s"},
		{"plugins assign x --agent a/b", "--agent"},
	} {
		code, _, stderr := run(t, append([]string{"--data-dir", dir}, strings.Fields(c.line)...)...)
		if code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("stavily %s = %d and %q, want %d and %q", c.line, code, stderr, exitUsage, c.says)
		}
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("it made %v, %v", made, err)
	}
}

// TestHelp holds the help of every command in one golden file, and that whoever reads
// it finds an example.
func TestHelp(t *testing.T) {
	var all bytes.Buffer
	var visit func(c *cobra.Command, path []string)
	visit = func(c *cobra.Command, path []string) {
		code, stdout, _ := run(t, append(append([]string{}, path...), "--help")...)
		if code != exitOK {
			t.Errorf("stavily %s --help exits %d", strings.Join(path, " "), code)
		}
		all.WriteString("$ " + strings.Join(append(append([]string{"stavily"}, path...), "--help"), " ") + "\n" + stdout + "\n")
		if c.RunE != nil && !c.HasSubCommands() && c.Example == "" {
			t.Errorf("stavily %s has no example", strings.Join(path, " "))
		}
		for _, sub := range c.Commands() {
			visit(sub, append(append([]string{}, path...), sub.Name()))
		}
	}
	visit(New(), nil)
	// The default of --data-dir depends on who runs the test and where.
	text := strings.NewReplacer(`default "`+defaultDataDir()+`"`, `default "DIR"`, `default "stavily-server"`, `default "DIR"`, `default "`+systemDataDir+`"`, `default "DIR"`).Replace(all.String())
	golden := filepath.Join("testdata", "help.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("the help changed; if that is meant, run the test with -update (-want +got):\n%s", diff)
	}
}

func TestTokensCreatePrintsACommandToCopy(t *testing.T) {
	s := servertest.Start(t)
	code, stdout, stderr := run(t, "--data-dir", s.DataDir, "tokens", "create", "--type", "action", "--agent-id", "web-01")
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	token, _, _ := strings.Cut(stdout, "\n")
	fingerprint := s.Token(api.Sensor, "").CAFingerprint
	want := "action-agent enroll --base-url " + s.URL() + " --token " + token + " --ca-fingerprint " + fingerprint + " --agent-id web-01\n"
	if !strings.HasPrefix(token, "svt_default_") || !strings.Contains(stdout, want) {
		t.Errorf("printed\n%s\nwant the command\n%s", stdout, want)
	}
	if _, stdout, _ := run(t, "--data-dir", s.DataDir, "tokens", "create", "--type", "sensor"); !strings.Contains(stdout, "sensor-agent enroll ") || !strings.Contains(stdout, "--agent-id <agent-id>\n") {
		t.Errorf("a token for any agent printed\n%s", stdout)
	}
	_, stdout, _ = run(t, "--data-dir", s.DataDir, "tokens", "create", "--type", "sensor", "-o", "json")
	var parsed operatorapi.NewToken
	if err := json.Unmarshal([]byte(stdout), &parsed); err != nil || parsed.BaseURL != s.URL() || parsed.CAFingerprint != fingerprint {
		t.Errorf("as JSON: %s (%v)", stdout, err)
	}
}

// TestOperating goes through the commands against a real server.
func TestOperating(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "host-a")
	file := filepath.Join(t.TempDir(), "w.yaml")
	text := "name: clean\ntriggers:\n  - event: disk.full\nactions:\n  - plugin: cleaner\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// step runs a command, and wants it to print all of says on either stream.
	step := func(args string, says ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, append([]string{"--data-dir", s.DataDir}, strings.Fields(args)...)...)
		for _, want := range says {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("stavily %s printed %q %q, want %q in it", args, stdout, stderr, want)
			}
		}
		if code != exitOK {
			t.Errorf("stavily %s = %d: %s", args, code, stderr)
		}
		return stdout
	}
	step("runs list", "No runs.")
	step("runs list --status failed", "No run matches.")
	step("agents list --status lost", "No agent matches.")
	step("events list --since 1h", "No event matches.")
	step("audit list --action nothing", "No record matches.")
	step("workflows apply -f "+file, "Workflow clean is now at version 1.")
	step("workflows apply -f "+file, "unchanged at version 1")
	step("workflows list", "NAME", "clean")
	for version, want := range map[string]int{"0": exitFailed, "1": exitOK, "2": exitFailed} {
		if code, _, stderr := run(t, "--data-dir", s.DataDir, "workflows", "apply", "-f", file, "--if-version", version); code != want {
			t.Errorf("workflows apply --if-version %s where 1 is in effect = %d %s, want %d", version, code, stderr, want)
		}
	}
	if got := step("workflows show clean"); got != text {
		t.Errorf("workflows show printed %q, want what was applied", got)
	}
	_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
		Seq: 1, ID: "E1", Type: "disk.full", Severity: api.High, Timestamp: api.At(time.Now()), Monitor: "evil\x1b[2J\nline",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := step("events list", "E1", "disk.full", "sensor-1", " ago"); strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 2 {
		t.Errorf("events list printed %q: control characters of an event reached the terminal", got)
	}
	if got := step("explain E1", "Event E1, disk.full, from agent sensor-1", "clean version 1: started run", "which is running",
		"met   mode is not off", "no action agent is on host host-a"); strings.Contains(got, "\x1b") {
		t.Errorf("explain printed %q", got)
	}
	step("replay E1 -f "+file, "clean: would run; nothing was executed", "would start  cleaner: plugin cleaner on the host of the sensor  without input")
	step("replay E1 --workflow clean", "clean version 1: would run")
	step("agents list", "sensor-1", "host-a")
	step("agents show sensor-1", "Certificate ends:")
	run := string(s.Runs()[0].ID)
	step("runs list", run, "clean (1)", "running")
	step("runs show "+run, "cleaner", "run_started")
	step("runs cancel "+run, "cancelled")
	step("runs follow "+run, "run_finished")
	step("runs retry "+run, "of clean (version 1) is running")
	again := string(s.Runs()[0].ID)
	step("runs show "+again, "Retry of:", run)
	step("runs cancel "+again, "cancelled")
	step("runs logs " + run)
	step("tokens list", "used", "sensor-1")
	step("agents revoke sensor-1 --reason test", "Agent sensor-1 is revoked.")
	step("agents list", "revoked")
	second := text + "  - plugin: grower\n"
	if err := os.WriteFile(file, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := step("workflows diff -f " + file); got != "--- clean version 1\n+++ "+file+"\n@@ -3,3 +3,4 @@\n   - event: disk.full\n actions:\n   - plugin: cleaner\n+  - plugin: grower\n" {
		t.Errorf("workflows diff -f printed\n%s", got)
	}
	step("workflows apply -f "+file, "now at version 2")
	step("workflows diff -f "+file, "")
	step("workflows diff clean", "--- clean version 1", "+++ clean version 2", "+  - plugin: grower")
	step("workflows diff clean --to 1", "--- clean version 0", "+name: clean")
	step("workflows rollback clean", "now at version 3")
	step("workflows rollback clean --to 1", "unchanged at version 3")
	step("workflows history clean", "VERSION", "3", "+0 -1", "+1 -0", "+5 -0")
	if got := step("workflows show clean"); got != text {
		t.Errorf("after the rollback the text is %q", got)
	}
	step("workflows delete clean", "deleted")
	step("workflows list", "No workflows.")
	step("users list", "No users.")
	step("users add ann --role admin --group oncall", "/welcome?link=svi_default_", "For ann alone")
	step("users add ci --role operator --no-link", "User ci is operator.")
	step("users change ann --group database", "User ann is admin, in database.")
	step("users invite ann", "/welcome?link=svi_default_")
	step("users list", "ann", "admin", "no password", "database")
	step("api-tokens create deploy --user ci --role operator --area runs", "sva_default_", "Token deploy of ci, with the role operator for runs")
	var tokens []operatorapi.APIToken
	if err := json.Unmarshal([]byte(step("api-tokens list -o json")), &tokens); err != nil || len(tokens) != 1 {
		t.Fatalf("api-tokens list -o json = %+v, %v", tokens, err)
	}
	step("api-tokens list", "deploy", "runs")
	step("api-tokens revoke "+tokens[0].ID, "is revoked")
	step("users rm ci", "User ci is removed.")
	step("audit list", "user.add", "user.change", "user.invite", "api_token.create", "api_token.revoke", "user.remove")
	step("audit list", "agent.revoke", "workflow.rollback", "workflow.delete", "run.cancel", "operator")
	var runs []operatorapi.Run
	if err := json.Unmarshal([]byte(step("runs list -o json")), &runs); err != nil || len(runs) != 2 || runs[0].Status != "cancelled" {
		t.Errorf("runs list -o json = %+v, %v", runs, err)
	}
	if got := step("workflows list -o json"); got != "[]\n" {
		t.Errorf("an empty list as JSON = %q, want []", got)
	}
}

func TestRelativeTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		900 * time.Millisecond: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 11*time.Minute + 30*time.Second: "11m",
		90 * time.Minute: "1h30m", 49 * time.Hour: "2d",
	} {
		if got := rough(d); got != want {
			t.Errorf("rough(%s) = %q, want %q", d, got, want)
		}
	}
	if got := ago(api.Time{}); got != "" {
		t.Errorf("ago(never) = %q, want nothing", got)
	}
}
