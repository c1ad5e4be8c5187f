package kit

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// text is a value of a configuration that is text, however it is held.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.RawMessage:
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
	}
	return ""
}

// severalFiles is from how many files of one directory on that is asked for instead.
const severalFiles = 4

// suggestion is the manifest's section of permissions with what was refused added to it;
// empty where nothing was.
func (a *audit) suggestion() string {
	if len(a.need) == 0 {
		return ""
	}
	asks := a.plugin.Permissions
	network := "false"
	if asks.Network.All {
		network = "true"
	} else if all := append(slices.Clone(asks.Network.Destinations), a.need["network"]...); len(all) > 0 {
		network = list(all)
	}
	read := append(slices.Clone(asks.Read), gathered(a.need["read"])...)
	write := append(slices.Clone(asks.Write), gathered(a.need["write"])...)
	out := fmt.Sprintf("permissions:\n  network: %s\n  filesystem:\n    read: %s\n    write: %s\n", network, list(read), list(write))
	if len(asks.Stat) > 0 {
		out += "    stat: " + list(asks.Stat) + "\n"
	}
	return out
}

// gathered asks for a directory where several of its files are needed. A file that is to
// be made needs its directory, since only what is there can be granted.
func gathered(paths []string) []string {
	count := map[string]int{}
	for _, path := range paths {
		count[filepath.Dir(path)]++
	}
	var out []string
	for _, path := range paths {
		dir := filepath.Dir(path)
		if strings.HasPrefix(path, "/") && dir != "/" && (count[dir] >= severalFiles || !exists(path)) {
			path = dir
		}
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// list is a list of texts as YAML, on one line.
func list(entries []string) string {
	quoted := make([]string, len(entries))
	for i, e := range entries {
		quoted[i] = quotedYAML(e)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quotedYAML is a text in double quotes: JSON's are YAML's.
func quotedYAML(text string) string {
	b, err := json.Marshal(text)
	if err != nil { // text always marshals
		return `""`
	}
	return string(b)
}
