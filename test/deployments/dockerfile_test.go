package deployments

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func dockerfile(t *testing.T, path string) ([]instructions.Stage, []instructions.ArgCommand, []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	lint := linter.New(&linter.Config{Warn: func(rule, description, url, message string, _ []parser.Range) {
		found = append(found, rule+": "+message)
	}})
	stages, args, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		found = append(found, w.Short)
	}
	return stages, args, found
}

func stages(t *testing.T) []string {
	t.Helper()
	all, _, _ := dockerfile(t, "../../Dockerfile")
	var out []string
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

// last is the last instruction of its kind in a stage.
func last[T instructions.Command](s instructions.Stage) (out T, found bool) {
	for _, c := range s.Commands {
		if v, ok := c.(T); ok {
			out, found = v, true
		}
	}
	return out, found
}

// R133, R135, R157, F30: what the images promise, and that BuildKit has nothing to say.
func TestDockerfile(t *testing.T) {
	all, args, complaints := dockerfile(t, "../../Dockerfile")
	if len(complaints) > 0 {
		t.Errorf("the linter: %q", complaints)
	}
	var names []string
	for _, a := range args {
		names = append(names, a.Args[0].Key)
	}
	if !slices.Equal(names, []string{"GO_IMAGE", "BASE_IMAGE"}) {
		t.Errorf("base images are chosen by %q", names)
	}
	programs := map[string][]string{
		"sensor-agent": {"/usr/local/bin/sensor-agent", "health"}, "action-agent": {"/usr/local/bin/action-agent", "health"},
		"server": {"/usr/local/bin/stavily", "tokens", "list"},
	}
	for _, s := range all {
		want, ok := programs[s.Name]
		if !ok {
			continue
		}
		delete(programs, s.Name)
		entry, _ := last[*instructions.EntrypointCommand](s)
		if entry == nil || !slices.Equal(entry.CmdLine, want[:1]) || entry.PrependShell {
			t.Errorf("%s: entry point %v, want %q alone, so that arguments can be appended", s.Name, entry, want[0])
		}
		check, _ := last[*instructions.HealthCheckCommand](s)
		if check == nil || !slices.Equal(check.Health.Test, append([]string{"CMD"}, want...)) {
			t.Errorf("%s: health check %v, want %q", s.Name, check, want)
		}
		if user := userOf(all, s); user != "1000:1000" {
			t.Errorf("%s: runs as %q", s.Name, user)
		}
		labels, _ := last[*instructions.LabelCommand](s)
		for _, name := range []string{"title", "description", "licenses", "source", "version", "revision"} {
			if labels == nil || !slices.ContainsFunc(labels.Labels, func(l instructions.KeyValuePair) bool {
				return l.Key == "org.opencontainers.image."+name && strings.Trim(l.Value, `"`) != ""
			}) {
				t.Errorf("%s: no label %s", s.Name, name)
			}
		}
	}
	if len(programs) > 0 {
		t.Errorf("no target for %v", programs)
	}
	for _, s := range all { // the stages that images stand on end as that user too
		if u, ok := last[*instructions.UserCommand](s); ok && u.User != "1000:1000" {
			t.Errorf("stage %s ends as user %s", s.Name, u.User)
		}
	}
}

// userOf is whom a stage runs as: what it says last, or the stage that it stands on does.
// Empty is the base image's user, which is root.
func userOf(all []instructions.Stage, s instructions.Stage) string {
	if u, ok := last[*instructions.UserCommand](s); ok {
		return u.User
	}
	for _, below := range all {
		if below.Name == s.BaseName {
			return userOf(all, below)
		}
	}
	return ""
}

// The check of the Dockerfile can fail.
func TestDockerfileIsLinted(t *testing.T) {
	file := t.TempDir() + "/Dockerfile"
	if err := os.WriteFile(file, []byte("FROM a as B\nMAINTAINER x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, complaints := dockerfile(t, file); len(complaints) < 2 {
		t.Errorf("the linter has nothing to say but %q", complaints)
	}
}
