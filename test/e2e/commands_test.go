package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	documented = regexp.MustCompile("(?m)(?:^|`|&& )((?:stavily|sensor-agent|action-agent) [a-z][^`\n]*)")
	word       = regexp.MustCompile(`^[a-z][a-z-]*$`)
	flagName   = regexp.MustCompile(` (--[a-z][a-z-]*)`)
)

// help is what a program says of a command, with the path that it found it under.
func help(t *testing.T, words []string) (path, text string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(binDir, words[0]), append(slices.Clone(words[1:]), "--help")...).CombinedOutput()
	if err != nil {
		return "", string(out)
	}
	_, usage, _ := strings.Cut(string(out), "Usage:\n  ")
	usage, _, _ = strings.Cut(usage, "\n")
	return usage, string(out)
}

// leads reports whether the path of a command begins with these words; `workflow` is
// another name of `workflows`.
func leads(path string, words []string) bool {
	fields := strings.Fields(path)
	for i, w := range words {
		if i >= len(fields) || fields[i] != w && (i != 1 || fields[i] != w+"s") {
			return false
		}
	}
	return true
}

// Every command in every document is there, with its flags.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	seen := map[string]bool{}
	for _, name := range documents(t) {
		for _, m := range documented.FindAllStringSubmatch(repository(t, name), -1) {
			line := comment.ReplaceAllString(m[1], "")
			if line, _, _ = strings.Cut(line, " && "); seen[line] {
				continue
			}
			seen[line] = true
			words := strings.Fields(line)
			end := slices.IndexFunc(words[1:], func(w string) bool { return !word.MatchString(w) })
			if end < 0 {
				end = len(words) - 1
			}
			words = words[:min(end, 3)+1]
			path, text := help(t, words)
			for len(words) > 2 && path != "" && !leads(path, words) && !strings.Contains(text, "Available Commands:") {
				words = words[:len(words)-1] // the last one is no command but an argument
			}
			if !leads(path, words) {
				t.Errorf("%s tells to type %q: there is no such command, %s", name, line, text)
				continue
			}
			for _, f := range flagName.FindAllStringSubmatch(line, -1) {
				if !regexp.MustCompile(regexp.QuoteMeta(f[1]) + `\b`).MatchString(text) {
					t.Errorf("%s tells to type %q: it has no %s", name, line, f[1])
				}
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d commands are documented", len(seen))
	}
}
