package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/cli"
)

// usage is the exit code of a command line that is wrong, see package cli.
const usage = 2

// call executes a command line and returns its exit code and what it complains of.
func call(t *testing.T, args ...string) (code int, errs string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var out, complaints bytes.Buffer
	root := commands()
	root.SetOut(&out)
	root.SetErr(&complaints)
	code = cli.Execute(t.Context(), root, args)
	return code, complaints.String()
}

// TestCommandsWithoutServerRefuseAContext is of those that other packages than cli bring.
func TestCommandsWithoutServerRefuseAContext(t *testing.T) {
	nowhere := t.TempDir() + "/nowhere"
	for _, line := range []string{"dev", "demo", "keys create " + nowhere, "plugin validate " + nowhere, "plugin pack " + nowhere} {
		code, errs := call(t, append([]string{"--context", "prod"}, strings.Fields(line)...)...)
		if code != usage || !strings.Contains(errs, "and not with a context: leave out --context") {
			t.Errorf("stavily --context prod %s = %d: %s", line, code, errs)
		}
	}
}

// TestAWrongValueIsWrongUsage is of commands that other packages than cli bring, too.
func TestAWrongValueIsWrongUsage(t *testing.T) {
	for _, line := range []string{"demo --crash banana", "plugin new x", "plugin new x --type banana", "plugin sign d", "plugin run d --sandbox banana"} {
		if code, errs := call(t, strings.Fields(line)...); code != usage || !strings.Contains(errs, "--help") {
			t.Errorf("stavily %s = %d: %s", line, code, errs)
		}
	}
}
