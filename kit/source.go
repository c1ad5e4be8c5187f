package kit

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/plugin"
)

//go:embed python/source.py
var sourceCheck string

const (
	sourceLimit  = time.Minute
	maxSourceSay = 1 << 20
	maxSources   = 500
)

// look is what a look at a plugin's files found.
type look struct {
	Python             string // its version; empty where no Python was asked
	Mistakes, Warnings []Mistake
}

// lookAt checks what the manifest's own checks do not: the source, and whether it and
// the schemas agree. Nothing of the plugin is run.
func lookAt(ctx context.Context, p *plugin.Plugin, python string) (look, error) {
	var out look
	notes, err := doubts(p)
	if err != nil {
		return out, err
	}
	out.Warnings = mistakesOf(notes)
	if p.Runtime.Type != plugin.Python {
		return out, nil
	}
	return out, out.source(ctx, p, python)
}

// doubts are what the manifest may say, and should not.
func doubts(p *plugin.Plugin) (strictyaml.Errors, error) {
	path := filepath.Join(p.Dir, plugin.ManifestName)
	src, err := limits.ReadFile(path, strictyaml.MaxBytes)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	doc, err := strictyaml.Load(path, src, &all)
	if err != nil {
		return nil, err
	}
	var out strictyaml.Errors
	warn := func(key []any, format string, args ...any) {
		at := key
		if doc.Has([]any{"plugin", "runtime"}) { // the nested form
			at = append([]any{"plugin"}, key...)
		}
		name := dotted(key)
		out = append(out, doc.Errorf(at, name+": "+format, args...))
	}
	for section, schema := range map[string]plugin.Schema{"configuration": p.Configuration, "parameters": p.Parameters} {
		for _, property := range schema {
			for _, w := range examine(property) {
				warn([]any{section, property.Name}, "%s", w)
			}
		}
	}
	if p.Description == "" {
		warn([]any{"description"}, "is missing: people choose by it")
	}
	if p.Runtime.Contract == plugin.Stdio && p.Limits.ExecutionTime == 0 {
		warn([]any{"limits", "execution_time"}, "is not said: the agent's own limit of a run holds, 5 minutes by default")
	}
	return out.Sort(), nil
}

// dotted is a path of keys as people write it.
func dotted(keys []any) string {
	parts := make([]string, len(keys))
	for i, key := range keys {
		parts[i] = fmt.Sprint(key)
	}
	return strings.Join(parts, ".")
}

// examine finds what a property says and does not hold by itself.
func examine(p plugin.Property) (warnings []string) {
	if p.Required && p.Default != nil {
		warnings = append(warnings, "is required and has a default: the default always holds, so leave `required` out")
	}
	if empty := slices.Contains([]string{"{}", "[]", `""`}, string(p.Default)); p.Secret && p.Default != nil && !empty {
		warnings = append(warnings, "is secret and has a default that everybody can read")
	}
	if p.Description == "" {
		warnings = append(warnings, "has no description: people who set it see nothing else")
	}
	var examples []json.RawMessage
	if p.Examples == nil || json.Unmarshal(p.Examples, &examples) != nil {
		return warnings
	}
	for _, example := range examples {
		one := plugin.Schema{p}
		if _, err := one.Apply(map[string]json.RawMessage{p.Name: example}); err != nil {
			warnings = append(warnings, fmt.Sprintf("the example %.80s does not hold: %v", example, err))
		}
	}
	return warnings
}

// source has a Python read the plugin's files.
func (l *look) source(ctx context.Context, p *plugin.Plugin, python string) error {
	if python == "" {
		return fmt.Errorf("there is no Python here")
	}
	files, err := sources(p)
	if err != nil || len(files) == 0 {
		return err
	}
	asked, err := json.Marshal(map[string]any{"files": files, "configuration": keysOf(p.Configuration), "parameters": keysOf(p.Parameters)})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, sourceLimit)
	defer cancel()
	said, complaint := limits.NewBuffer(maxSourceSay), limits.NewBuffer(4<<10)
	cmd := exec.CommandContext(limited, python, "-I", "-S", "-W", "ignore", "-c", sourceCheck)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(asked), said, complaint, time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %.400s", python, err, complaint.Bytes())
	}
	var found struct {
		Python   string
		Mistakes []Mistake
	}
	if err := limits.UnmarshalJSON(said.Bytes(), &found); err != nil {
		return fmt.Errorf("read what %s found: %w", python, err)
	}
	l.Python = found.Python
	l.Mistakes = append(l.Mistakes, found.Mistakes...)
	return nil
}

// keysOf are the names of a schema; nil for one that takes everything.
func keysOf(s plugin.Schema) []string {
	var out []string
	for _, p := range s {
		out = append(out, p.Name)
	}
	return out
}

// sources are the plugin's own Python files: not what it brings along in directories of
// packages, and not what counts for nothing.
func sources(p *plugin.Plugin) ([]string, error) {
	var out []string
	err := filepath.WalkDir(p.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != p.Dir && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"__pycache__", "wheels", "vendor", "site-packages", "venv"}, d.Name())):
			return filepath.SkipDir
		case d.Type().IsRegular() && (strings.HasSuffix(path, ".py") || path == filepath.Join(p.Dir, filepath.FromSlash(p.Runtime.EntryPoint))):
			out = append(out, path)
		}
		if len(out) > maxSources {
			return fmt.Errorf("there are more than %d Python files", maxSources)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the plugin's source: %w", err)
	}
	return out, nil
}
