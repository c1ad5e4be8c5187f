package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

// PluginFile is one file of plugins.config_dir: how one plugin runs here. For a
// sensor each is a monitor; several may run the same plugin under different names.
type PluginFile struct {
	Plugin   api.PluginID   `yaml:"plugin"`   // the plugin that this configures; required
	Name     string         `yaml:"name"`     // the monitor's name, by default the file's without .yaml
	Enabled  bool           `yaml:"enabled"`  // whether it runs; true unless the file says otherwise
	Interval Duration       `yaml:"interval"` // between two looks of a sensor, at least 100ms; left out: what the plugin wishes, else 30s
	Timeout  Duration       `yaml:"timeout"`  // of one run; left out: plugins.timeout, which it cannot exceed
	Memory   Size           `yaml:"memory"`   // of one run; left out: plugins.max_memory, which it cannot exceed
	Config   map[string]any `yaml:"config"`   // the plugin's own; its schema is in the manifest

	// Whether an instruction may set the plugin's environment. Off, because that can
	// turn a harmless program into another one.
	Environment bool `yaml:"environment"`
	Arguments   bool `yaml:"arguments"` // the same, for its arguments

	// From here on, what holds for this plugin instead of the key of the same name in
	// security.sandbox, which it may narrow or widen. What the manifest does not ask
	// for is not granted either way.

	Trusted   bool             `yaml:"trusted"`   // whether it runs at level limited too, unless require says otherwise
	Require   api.SandboxLevel `yaml:"require"`   // the level without which it does not run; left out: security.sandbox.require
	Read      []string         `yaml:"read"`      // left out: security.sandbox.read; []: nothing
	Write     []string         `yaml:"write"`     // left out: security.sandbox.write; []: nothing
	Network   Reach            `yaml:"network"`   // all, declared, none, or a list of host:port and port; left out: security.sandbox.network
	Processes int              `yaml:"processes"` // of one run; left out: security.sandbox.max_processes
	CPU       float64          `yaml:"cpu"`       // share of one processor; left out: security.sandbox.max_cpu
	Temp      Size             `yaml:"temp"`      // of its private directory; left out: security.sandbox.max_temp

	File   string  `yaml:"-"` // where it was read from
	Wanted *Wanted `yaml:"-"` // of a monitor that a workflow brings; nil: the file is all
}

// Wanted is what a workflow says of a monitor that it brings.
type Wanted struct {
	Workflow string
	Version  string         // range of versions that will do; empty: any
	Config   map[string]any // what it sets
	Owner    map[string]any // what the host's file says without it
}

const (
	// DefaultMonitorInterval is between two looks where neither the file nor the plugin says.
	DefaultMonitorInterval = 30 * time.Second
	// MinMonitorInterval is ten times what one detect_triggers of a warm plugin takes.
	MinMonitorInterval = 100 * time.Millisecond

	leftOut Duration = -1 // what no file says
)

// FileError is what is wrong with one file of plugins.config_dir.
type FileError struct {
	File string
	Err  error // says where, too
}

func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap is the mistake itself.
func (e *FileError) Unwrap() error { return e.Err }

// LoadPluginFiles reads every *.yaml in dir, in the order of their names. A file
// with a mistake is left out and its mistakes are a *FileError, with file, line and
// column; the others hold. A directory that does not exist holds none.
func LoadPluginFiles(dir string) ([]PluginFile, []error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("list plugin configurations: %w", err)}
	}
	var out []PluginFile
	var errs []error
	taken := map[string]string{} // name → file
	for _, e := range entries {
		// Editors leave hidden files beside the one they write.
		if filepath.Ext(e.Name()) != ".yaml" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		f, err := loadPluginFile(filepath.Join(dir, e.Name()), taken)
		if err != nil {
			errs = append(errs, &FileError{f.File, err})
			continue
		}
		taken[f.Name] = f.File
		out = append(out, f)
	}
	return out, errs
}

func loadPluginFile(path string, taken map[string]string) (PluginFile, error) {
	f := PluginFile{
		Name: strings.TrimSuffix(filepath.Base(path), ".yaml"), Enabled: true,
		Interval: leftOut, File: path,
	}
	src, err := limits.ReadFile(path, strictyaml.MaxBytes)
	if err != nil {
		return f, fmt.Errorf("read a plugin configuration: %w", err)
	}
	doc, err := strictyaml.Load(path, src, &f)
	if err != nil {
		return f, err
	}
	var errs strictyaml.Errors
	require := func(ok bool, key, format string, args ...any) {
		if !ok {
			errs = append(errs, doc.Errorf([]any{key}, key+": "+format, args...))
		}
	}
	if f.Plugin == "" {
		require(false, "plugin", "is missing: name the plugin that this configures")
	} else if err := f.Plugin.Validate(); err != nil {
		require(false, "plugin", "%v", err)
	}
	require(api.PluginID(f.Name).Validate() == nil, "name",
		"%q: must be 1 to %d characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit", f.Name, api.MaxIDLength)
	require(taken[f.Name] == "", "name", "%q: is also the name in %s: give one of them another", f.Name, taken[f.Name])
	if f.Interval == leftOut {
		f.Interval = 0
	} else {
		require(f.Interval >= Duration(MinMonitorInterval), "interval", "%v: must be at least %v", f.Interval, MinMonitorInterval)
	}
	require(f.Timeout >= 0, "timeout", "%v: must not be negative", f.Timeout)
	require(f.Memory == 0 || f.Memory >= minMaxMemory, "memory", "%v: must be at least %v", f.Memory, minMaxMemory)
	errs = append(errs, f.checkSandbox(doc)...)
	_, err = json.Marshal(f.Config) // plugins are handed their configuration as JSON
	require(err == nil, "config", "holds what JSON cannot say (%v): keys must be text and numbers finite", err)
	return f, errs.Err()
}
