package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/internal/limits"
)

// A release has neither the points nor a way to arm them.
func TestReleasesHaveNoFailpoints(t *testing.T) {
	t.Chdir("../..")
	names, err := sites()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 40 {
		t.Errorf("%d names were found in the source, which cannot be", len(names))
	}
	program := filepath.Join(t.TempDir(), "action-agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./action-agent/cmd/action-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said := limits.NewBuffer(64 << 10)
	build.Stdout, build.Stderr = said, said
	if err := build.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said.Bytes())
	}
	text, err := limits.ReadFile(program, 100<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "FAILPOINTS", ".armed") {
		if bytes.Contains(text, []byte(name)) {
			t.Errorf("the action agent has %q in it", name)
		}
	}
}
