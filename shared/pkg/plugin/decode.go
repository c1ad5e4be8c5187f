package plugin

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

// manifestFile is plugin.yaml as written. Limits and network are of several types.
type manifestFile struct {
	ID            api.PluginID            `yaml:"id"`
	Name          string                  `yaml:"name"`
	Description   string                  `yaml:"description"`
	Version       string                  `yaml:"version"`
	Author        string                  `yaml:"author"`
	License       string                  `yaml:"license"`
	Type          string                  `yaml:"type"`
	Runtime       runtimeFile             `yaml:"runtime"`
	Configuration map[string]propertyFile `yaml:"configuration"`
	Parameters    map[string]propertyFile `yaml:"parameters"`
	Events        yaml.Node               `yaml:"events"`
	Limits        struct {
		Memory        any `yaml:"memory"`
		CPU           any `yaml:"cpu"`
		ExecutionTime any `yaml:"execution_time"`
	} `yaml:"limits"`
	Permissions struct {
		Network    any `yaml:"network"`
		Filesystem struct {
			Read  []string `yaml:"read"`
			Write []string `yaml:"write"`
			Stat  []string `yaml:"stat"`
		} `yaml:"filesystem"`
		SystemCalls []string `yaml:"system_calls"`
	} `yaml:"permissions"`
	Input      string   `yaml:"input"`
	Tags       []string `yaml:"tags"`
	Categories []string `yaml:"categories"`
}

type runtimeFile struct {
	Type         string `yaml:"type"`
	Version      string `yaml:"version"`
	EntryPoint   string `yaml:"entry_point"`
	Requirements string `yaml:"requirements"`
	Contract     string `yaml:"contract"`
	Warm         *bool  `yaml:"warm"`

	SystemPackages bool `yaml:"system_packages"`
}

// decoder turns one manifest into a Manifest and collects its mistakes.
type decoder struct {
	doc      *strictyaml.Doc
	prefix   []any // of every path: "plugin" in the nested form
	errs     strictyaml.Errors
	notes    strictyaml.Errors // warnings of our own
	manifest Manifest
}

// decodeManifest reads both forms: all keys at the top, or all under "plugin".
func decodeManifest(file string, src []byte) (*decoder, error) {
	d := &decoder{}
	var shape struct {
		Plugin map[string]any `yaml:"plugin"`
	}
	doc, err := strictyaml.Load(file, src, &shape, strictyaml.WarnUnknown())
	if err != nil {
		return d, err
	}
	var f manifestFile
	if shape.Plugin != nil && !doc.Has([]any{"runtime"}) {
		d.prefix = []any{"plugin"}
		nested := struct {
			Plugin *manifestFile `yaml:"plugin"`
		}{&f}
		d.doc, err = strictyaml.Load(file, src, &nested, strictyaml.WarnUnknown())
	} else {
		d.doc, err = strictyaml.Load(file, src, &f, strictyaml.WarnUnknown())
	}
	if err != nil {
		return d, err
	}
	d.identity(&f)
	d.runtime(&f)
	d.manifest.Configuration = d.schema("configuration", f.Configuration)
	d.manifest.Parameters = d.schema("parameters", f.Parameters)
	d.events(&f)
	d.limits(&f)
	d.permissions(&f)
	return d, d.errs.Err()
}

func (d *decoder) warnings() strictyaml.Errors {
	if d.doc == nil {
		return nil
	}
	return append(slices.Clone(d.doc.Unknown()), d.notes...).Sort()
}

// place is a value of the manifest.
type place struct {
	d    *decoder
	path []any
}

func (d *decoder) at(path ...any) place { return place{d, append(slices.Clone(d.prefix), path...)} }

func (p place) errorf(format string, args ...any) *strictyaml.Error {
	return p.d.doc.Errorf(p.path, format, args...)
}

// fail notes a mistake; the message begins with the key.
func (p place) fail(format string, args ...any) {
	p.d.errs = append(p.d.errs, p.errorf("%s: %s", p.key(), fmt.Sprintf(format, args...)))
}

func (p place) warn(format string, args ...any) {
	p.d.notes = append(p.d.notes, p.errorf("%s: %s", p.key(), fmt.Sprintf(format, args...)))
}

// key is the path as people write it: limits.memory, permissions.filesystem.read[0].
func (p place) key() string {
	var b strings.Builder
	for _, step := range p.path[len(p.d.prefix):] {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, step)
		}
	}
	return b.String()
}

// kinds maps what manifests say to what it means.
var kinds = map[string]Kind{"trigger": Sensor, "sensor": Sensor, "monitor": Sensor, "action": Action, "output": Output}

// KindNamed is the kind that a manifest or a plugin calls so.
func KindNamed(name string) (Kind, bool) {
	kind, known := kinds[name]
	return kind, known
}

func (d *decoder) identity(f *manifestFile) {
	m := &d.manifest
	m.ID, m.Name, m.Description, m.Version = f.ID, f.Name, f.Description, f.Version
	m.Author, m.License, m.Tags, m.Categories = f.Author, f.License, f.Tags, f.Categories
	if m.Name == "" {
		m.Name = string(m.ID)
	}
	if err := f.ID.Validate(); f.ID == "" {
		d.at("id").fail("is missing: every plugin has an id, for example disk-space-monitor")
	} else if err != nil {
		d.at("id").fail("%v", err)
	}
	if _, err := semver.NewVersion(f.Version); f.Version == "" {
		d.at("version").fail("is missing: every plugin has a semantic version, for example 1.0.0")
	} else if err != nil {
		d.at("version").fail("%q is not a semantic version, for example 1.0.0", f.Version)
	}
	kind, ok := KindNamed(f.Type)
	if !ok {
		d.at("type").fail("must be trigger (also: sensor, monitor), action or output, not %q", f.Type)
	}
	m.Kind = kind
	switch f.Input {
	case "":
	case "file":
		m.InputFile = true
	default:
		d.at("input").fail("must be file, or be left out, not %q", f.Input)
	}
}

var runtimeTypes = []string{Python, Executable, Bash, Node}

func (d *decoder) runtime(f *manifestFile) {
	r := Runtime{
		Type: f.Runtime.Type, Version: f.Runtime.Version, EntryPoint: f.Runtime.EntryPoint,
		Requirements: f.Runtime.Requirements, Contract: contractOf(f),
		Cold: f.Runtime.Warm != nil && !*f.Runtime.Warm, SystemPackages: f.Runtime.SystemPackages,
	}
	if r.Type == "" && strings.HasSuffix(r.EntryPoint, ".py") {
		r.Type = Python
	}
	if !slices.Contains(runtimeTypes, r.Type) {
		d.at("runtime", "type").fail("must be one of %s, not %q", strings.Join(runtimeTypes, ", "), r.Type)
	}
	if r.EntryPoint == "" {
		d.at("runtime", "entry_point").fail("is missing: name the file to run, for example main.py")
	} else if err := checkLocal(r.EntryPoint); err != nil {
		d.at("runtime", "entry_point").fail("%v", err)
	}
	if r.Requirements != "" {
		if err := checkLocal(r.Requirements); err != nil {
			d.at("runtime", "requirements").fail("%v", err)
		}
	}
	if r.Version != "" && r.Type == Python {
		if _, err := versionRange(r.Version); err != nil {
			d.at("runtime", "version").fail("%v", err)
		}
	}
	if f.Runtime.Contract != "" && r.Contract != Stdio && r.Contract != Script {
		d.at("runtime", "contract").fail("must be stdio or script, not %q", f.Runtime.Contract)
	}
	d.manifest.Runtime = r
}

func contractOf(f *manifestFile) Contract {
	switch {
	case f.Runtime.Contract != "":
		return Contract(f.Runtime.Contract)
	case f.Type == "monitor":
		return Script
	case f.Type == "action":
		return Detect
	}
	return Stdio
}

// checkLocal refuses what is not a plain path below the plugin's directory on any
// platform: plugins travel between them.
func checkLocal(name string) error {
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\\:\x00") || filepath.Clean(name) == "." {
		return fmt.Errorf("%q must be a path below the plugin's directory, with / between its parts and without '..'", name)
	}
	return nil
}

func (d *decoder) limits(f *manifestFile) {
	l := &d.manifest.Limits
	if v := f.Limits.Memory; v != nil {
		n, err := parseSize(fmt.Sprint(v))
		if err != nil {
			d.at("limits", "memory").fail("%v", err)
		}
		l.Memory = n
	}
	if v := f.Limits.CPU; v != nil {
		share, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		if err != nil || !(share > 0 && share <= 1024) {
			d.at("limits", "cpu").fail("must be a share of one processor above 0, for example 0.5, not %v", v)
		}
		l.CPU = share
	}
	if v := f.Limits.ExecutionTime; v != nil {
		duration, err := parseDuration(fmt.Sprint(v))
		if err != nil {
			d.at("limits", "execution_time").fail("%v", err)
		}
		l.ExecutionTime = duration
	}
}

func (d *decoder) permissions(f *manifestFile) {
	p := &d.manifest.Permissions
	fs := f.Permissions.Filesystem
	p.Read, p.Write, p.Stat, p.SystemCalls = fs.Read, fs.Write, fs.Stat, f.Permissions.SystemCalls
	for name, paths := range map[string][]string{"read": p.Read, "write": p.Write, "stat": p.Stat} {
		for i, path := range paths {
			d.at("permissions", "filesystem", name, i).checkPath(path)
		}
	}
	switch v := f.Permissions.Network.(type) {
	case nil:
	case bool:
		p.Network.All = v
	case []any:
		for i, item := range v {
			p.Network.Destinations = append(p.Network.Destinations, d.at("permissions", "network", i).destination(fmt.Sprint(item)))
		}
	default:
		d.at("permissions", "network").fail("must be true, false, or a list of \"host:port\" and \"port\", not %v", v)
	}
}

func (p place) checkPath(path string) {
	switch {
	case p.isPlaceholder(path):
	case !strings.HasPrefix(path, "/") && !filepath.IsAbs(path):
		p.fail("%q must be an absolute path", path)
	case strings.ContainsRune(path, 0) || slices.Contains(strings.Split(filepath.ToSlash(path), "/"), ".."):
		p.fail("%q must be a path without '..' and NUL", path)
	}
}

// destination is text in its canonical form.
func (p place) destination(text string) string {
	if p.isPlaceholder(text) {
		return text
	}
	to, err := destination.Parse(text)
	if err != nil {
		p.fail("%v", err)
	}
	return to.String()
}

// isPlaceholder reports whether text stands for the plugin's configuration, or tries
// to; it must then be a key that holds text.
func (p place) isPlaceholder(text string) bool {
	if !strings.Contains(text, "${") {
		return false
	}
	key, ok := Placeholder(text)
	if !ok {
		p.fail("%q must be a whole \"${config.KEY}\": nothing else can be filled in", text)
		return true
	}
	property, known := p.d.manifest.Configuration.Property(key)
	switch {
	case !known:
		p.fail("%q: there is no %q in configuration", text, key)
	case property.Type == Array && property.Items != nil && property.Items.Type != String,
		property.Type != Array && property.Type != String:
		p.fail("%q: configuration.%s must be of type string, or an array of them", text, key)
	}
	return true
}
