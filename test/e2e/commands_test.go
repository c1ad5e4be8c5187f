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

// usage is what a program says of a command, with the path that it found it under, or "".
type usage struct{ path, text string }

func help(words []string) usage {
	out, err := exec.Command(filepath.Join(binDir, words[0]), append(slices.Clone(words[1:]), "--help")...).CombinedOutput()
	if err != nil {
		return usage{text: string(out)}
	}
	_, path, _ := strings.Cut(string(out), "Usage:\n  ")
	path, _, _ = strings.Cut(path, "\n")
	return usage{path, string(out)}
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
	seen, asked := map[string]bool{}, map[string]usage{}
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
			command := strings.Join(words, " ")
			if _, known := asked[command]; !known {
				asked[command] = help(words)
			}
			said := asked[command]
			for len(words) > 2 && said.path != "" && !leads(said.path, words) && !strings.Contains(said.text, "Available Commands:") {
				words = words[:len(words)-1] // the last one is no command but an argument
			}
			if !leads(said.path, words) {
				t.Errorf("%s tells to type %q: there is no such command, %s", name, line, said.text)
				continue
			}
			for _, f := range flagName.FindAllStringSubmatch(line, -1) {
				if !regexp.MustCompile(regexp.QuoteMeta(f[1]) + `\b`).MatchString(said.text) {
					t.Errorf("%s tells to type %q: it has no %s", name, line, f[1])
				}
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d commands are documented", len(seen))
	}
}
