package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

// LoadOptions are what the process knows beside the file.
type LoadOptions struct {
	Type     api.AgentType  // of the binary
	Flags    *pflag.FlagSet // with RegisterFlags, parsed; nil when there are none
	Environ  []string       // as os.Environ gives it
	Hostname string         // what {HOSTNAME} stands for
	// Writable reports whether files can be made in dir. It only decides the
	// default base directory; nil means nowhere.
	Writable func(dir string) bool
	// Mounts is where images have base directories mounted: when nobody names an agent,
	// its only directory agent-ID is the base directory, of the agent ID (F29). Empty
	// means nowhere.
	Mounts string
	// Host says what this host has against the values, each with its key and what begins
	// with the value: a file that is not there, say. It is asked once, also where other
	// values are wrong. Nil means that nobody is asked.
	Host func(c *Config, tell func(key, text string))
}

// Loaded is a complete and valid configuration.
type Loaded struct {
	Config   Config
	File     string   // the configuration file, empty when there is none
	Warnings []string // what somebody should hear and nothing stops for

	origins map[string]string // by key; absent means default
	mounted string            // the base directory that an image was given; empty when there is none
}

// Origin says where the value of a key came from: file:line:column, the name of a
// variable or flag, "from" and another key, or "default".
func (l *Loaded) Origin(key string) string {
	return cmp.Or(l.origins[key], "default")
}

// Load finds out what is in force. The error lists every mistake, one a line, as
// far as the file could be understood at all.
func Load(o LoadOptions) (*Loaded, error) {
	env := environment(o.Environ)
	settings, warnings := envSettings(env)
	settings = append(settings, flagSettings(o.Flags)...) // later ones win
	l := &Loaded{Config: Default(o.Type), Warnings: warnings, origins: map[string]string{}}

	var err error
	if l.mounted, err = mountedBase(o, env, settings); err != nil {
		return nil, err
	}
	src, err := l.open(o, env, settings)
	if err != nil {
		return nil, err
	}
	ps, err := l.decode(src)
	if err != nil {
		return nil, err
	}
	ps = append(ps, l.apply(settings)...)
	l.completeID()
	ps = append(ps, l.Config.expand(env, o.Hostname)...)
	if err := l.complete(o.Writable); err != nil {
		return nil, err
	}
	if err := l.verdict(ps, o).err(); err != nil {
		return nil, err
	}
	return l, nil
}

// candidates are the places where the file is looked for when nobody names it, in
// this order (F29). Without a base directory only the last remains.
func candidates(base, agentType string) []string {
	var out []string
	if base != "" {
		out = []string{
			filepath.Join(base, "config", "agent.yaml"),
			filepath.Join(base, "config", agentType+".yaml"),
			filepath.Join(base, agentType+"-agent", "config.yaml"),
		}
	}
	return append(out, filepath.Join("/etc/stavily", agentType+"-agent.yaml"))
}

// open reads the configuration file and sets File. A file that somebody named must
// be there; without any the flags and the environment may suffice.
func (l *Loaded) open(o LoadOptions, env map[string]string, settings []setting) ([]byte, error) {
	named, given := flagValue(o.Flags, flagConfig)
	if !given {
		named = env[envConfig]
	}
	if named != "" {
		l.File = named
		src, err := limits.ReadFile(named, strictyaml.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		return src, nil
	}
	for _, path := range candidates(l.earlyBase(o, env, settings), string(o.Type)) {
		src, err := limits.ReadFile(path, strictyaml.MaxBytes)
		if err == nil {
			l.File = path
			return src, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	return nil, nil
}

// earlyBase is the base directory as far as flags and environment tell it, which
// is where the file is looked for. Mistakes in them are reported once all is known.
func (l *Loaded) earlyBase(o LoadOptions, env map[string]string, settings []setting) string {
	early := &Loaded{Config: Default(o.Type), origins: map[string]string{}, mounted: l.mounted}
	early.apply(settings)
	early.Config.expand(env, o.Hostname)
	if err := early.completeBase(o.Writable); err != nil {
		return ""
	}
	return early.Config.Agent.BaseDir
}

// decode reads the file over the defaults and notes where each value stands.
func (l *Loaded) decode(src []byte) (problems, error) {
	doc, err := strictyaml.Load(l.File, src, &l.Config)
	if err != nil {
		return nil, err
	}
	var ps problems
	for _, leaf := range leaves(&l.Config) {
		node := doc.Node(leaf.path)
		if node == nil {
			continue
		}
		where := fmt.Sprintf("%s:%d:%d", l.File, node.Line, node.Column)
		l.origins[leaf.key()] = where
		if node.ShortTag() == "!!null" {
			ps = append(ps, &Problem{Where: where, Key: leaf.key(), Text: "has no value: give it one or remove the key"})
		}
	}
	return ps, nil
}

// apply sets what variables and flags say.
func (l *Loaded) apply(settings []setting) problems {
	var ps problems
	for _, s := range settings {
		l.origins[s.key] = s.where
		if err := find(&l.Config, s.key).set(s.text); err != nil {
			ps = append(ps, &Problem{Where: s.where, Key: s.key, Text: err.Error()})
		}
	}
	return ps
}

// verdict adds what is wrong with the values to what is wrong already, the first
// mistake of each key, and says where each was made.
func (l *Loaded) verdict(ps problems, o LoadOptions) problems {
	wrong := l.Config.check()
	if t := l.Config.Agent.Type; t != o.Type && t.Validate() == nil {
		wrong.add("agent.type", "%q: this is the %s agent: start the %s agent with this configuration, or correct the type", t, o.Type, t)
	}
	if o.Host != nil {
		o.Host(&l.Config, func(key, text string) { wrong.add(key, "%s", text) })
	}
	for _, p := range wrong {
		if !ps.has(p.Key) {
			ps = append(ps, p)
		}
	}
	for _, p := range ps {
		p.Where = cmp.Or(p.Where, l.origins[p.Key])
	}
	return ps
}
