package kit

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// manifest tells what is to be thought about before anything runs.
func (t *trial) manifest(ctx context.Context, warnings strictyaml.Errors) {
	c, end := t.card.begin("manifest")
	for _, w := range warnings {
		c.warn("%s", w.Error())
	}
	report, err := lookAt(ctx, t.plugin, t.bench.Python(t.plugin))
	if err != nil {
		c.warn("the source is not checked: %s", err)
	}
	for _, m := range report.Mistakes {
		c.fail("%s", m)
	}
	for _, m := range report.Warnings {
		c.warn("%s", m)
	}
	if t.plugin.Runtime.Type == plugin.Python {
		t.card.Python = "Python " + report.Python
	}
	said := "no mistakes, no warnings"
	if c.Verdict != Passed {
		said = counted(len(c.Notes), "remark")
	}
	if t.card.Python != "" {
		said += " · " + t.card.Python
	}
	end("%s", said)
}

const (
	unitTestLimit = 5 * time.Minute
	maxTestOutput = 256 << 10
	shownLines    = 15
)

// ran finds how many tests unittest ran.
var ran = regexp.MustCompile(`(?m)^Ran (\d+) tests? in`)

// ownTests runs the unit tests that come with the plugin.
func (t *trial) ownTests(ctx context.Context) {
	found, err := filepath.Glob(filepath.Join(t.plugin.Dir, "test_*.py"))
	if t.plugin.Runtime.Type != plugin.Python && len(found) == 0 {
		t.card.skip("not a Python plugin", "unit tests")
		return
	}
	c, end := t.card.begin("unit tests")
	if err != nil || len(found) == 0 {
		c.warn("write test_*.py beside the manifest, with stavily.testing: see `stavily plugin new`")
		end("there are none")
		return
	}
	limited, cancel := context.WithTimeout(ctx, unitTestLimit)
	defer cancel()
	said := limits.NewBuffer(maxTestOutput)
	cmd := exec.CommandContext(limited, t.bench.Python(t.plugin), "-m", "unittest", "discover", "-p", "test_*.py")
	cmd.Dir = t.plugin.Dir
	cmd.Env = append(cmd.Environ(), "PYTHONPATH="+t.bench.SDK(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, time.Second
	err = cmd.Run()
	count := "none"
	if m := ran.FindSubmatch(said.Bytes()); m != nil {
		count = string(m[1])
	}
	switch {
	case limited.Err() != nil:
		c.fail("did not end within %s", unitTestLimit)
	case err != nil:
		c.fail("%s", strings.Join(lastOf(lines(string(said.Bytes())), shownLines), "\n"))
	case bytes.Contains(said.Bytes(), []byte("skipped=")):
		c.note("some were skipped: %s", lastOf(lines(string(said.Bytes())), 1)[0])
	case count == "none" || count == "0":
		c.warn("the files have no test: unittest found none in %s", filepath.Base(found[0]))
	}
	end("%s ran, outside of the sandbox", count)
}

// lastOf are the last n of many.
func lastOf(all []string, n int) []string {
	return all[max(0, len(all)-n):]
}
