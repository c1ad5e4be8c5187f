package kit

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// valuesFlag collects KEY=VALUE. A value that is JSON is taken as that, anything else as
// text: the schema converts what it can.
type valuesFlag map[string]any

func (v valuesFlag) String() string { return "" }
func (valuesFlag) Type() string     { return "key=value" }

func (v valuesFlag) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found || key == "" {
		return fmt.Errorf("must be key=value, not %q", text)
	}
	if limits.UnmarshalJSON([]byte(value), new(any)) == nil {
		v[key] = json.RawMessage(value)
		return nil
	}
	v[key] = value
	return nil
}

// setting is how a plugin is set up to be tried, as its flags say.
type setting struct {
	config, params valuesFlag
	timeout        time.Duration
	python, user   string
	wheels, index  string
	level          levelFlag
	allowPrivate   []string
	progress       func(string) // hears how its Python environment is made; nil is nobody
}

func (s *setting) register(cmd *cobra.Command) {
	s.config, s.params, s.level = valuesFlag{}, valuesFlag{}, levelFlag(api.SandboxFull)
	flags := cmd.Flags()
	flags.Var(s.config, "config", "a value of the plugin's configuration, KEY=VALUE, where VALUE is JSON or text; may be repeated")
	flags.Var(s.params, "param", "a parameter of an action or output, KEY=VALUE; may be repeated")
	flags.DurationVar(&s.timeout, "timeout", 30*time.Second, "`limit` of each answer and run; the manifest's execution_time may make it shorter")
	flags.StringVar(&s.python, "python", "", "`interpreter` for Python plugins (default: the one that an agent takes)")
	flags.StringVar(&s.user, "user", "", "`name` of whom the plugin runs as; only for root")
	flags.StringVar(&s.wheels, "wheel-dir", "", "`directory` of wheels for its requirements, besides its own wheels/")
	flags.StringVar(&s.index, "index-url", "", "`URL` of the package index for what is in no wheel")
	flags.Var(&s.level, "level", "highest level of the sandbox that is used: full, confined, limited or none")
	flags.StringSliceVar(&s.allowPrivate, "allow-private", nil, "networks, addresses and names that may lead to private `addresses`, as security.sandbox.allow_private")
}

// levelFlag is the value of --level.
type levelFlag api.SandboxLevel

func (l *levelFlag) String() string { return string(*l) }
func (*levelFlag) Type() string     { return "level" }

func (l *levelFlag) Set(text string) error {
	if !api.SandboxLevel(text).Valid() {
		return fmt.Errorf("must be full, confined, limited or none")
	}
	*l = levelFlag(text)
	return nil
}

// adjust is what the host's owner would have set. Nothing is required of the sandbox:
// what it gave is told instead.
func (s *setting) adjust(c *config.Config) {
	if dir, err := filepath.Abs(s.wheels); err == nil && s.wheels != "" {
		c.Plugins.Python.WheelDir = dir
	}
	c.Plugins.Python.IndexURL = config.NewSecret(s.index)
	box := &c.Security.Sandbox
	box.Require, box.Level, box.User = api.SandboxNone, api.SandboxLevel(s.level), s.user
	box.AllowPortLevelEgress, box.AllowPrivate = true, s.allowPrivate
}

// file is the plugin's file in an agent's config/plugins.
func (s *setting) file(p *plugin.Plugin) (config.PluginFile, error) {
	values, err := sample(p.Configuration, s.config, "--config")
	return config.PluginFile{
		Plugin: p.ID, Name: string(p.ID), Enabled: true, Timeout: config.Duration(s.timeout), Config: values,
	}, err
}

// instruction is one that brings the parameters.
func (s *setting) instruction(p *plugin.Plugin, number int) (*api.Instruction, error) {
	values, err := sample(p.Parameters, s.params, "--param")
	if err != nil {
		return nil, err
	}
	data, err := plugin.Values(values)
	return &api.Instruction{
		ID: api.InstructionID(fmt.Sprintf("try-%d", number)), PluginID: p.ID, InstructionType: "execute", Attempt: 1, InputData: data,
		Context: api.InstructionContext{Workflow: "workbench", RunID: "try", Step: "try"},
	}, err
}

// sample completes what was given with what the schema itself offers for values that
// have to be there: the first example, or the first of an enumeration.
func sample(schema plugin.Schema, given valuesFlag, flag string) (map[string]any, error) {
	out := maps.Clone(map[string]any(given))
	for _, p := range schema {
		if _, set := given[p.Name]; set || !p.Required || p.Default != nil {
			continue
		}
		var examples []json.RawMessage
		switch {
		case json.Unmarshal(p.Examples, &examples) == nil && len(examples) > 0:
			out[p.Name] = examples[0]
		case len(p.Enum) > 0:
			out[p.Name] = p.Enum[0]
		default:
			return nil, fmt.Errorf("%s is required and the manifest has no example of it: give it with %s %s=VALUE", p.Name, flag, p.Name)
		}
	}
	raw, err := plugin.Values(out)
	if err == nil {
		_, err = schema.Apply(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return out, nil
}
