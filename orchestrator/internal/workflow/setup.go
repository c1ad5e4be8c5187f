package workflow

import (
	"maps"
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
)

// The bounds of what a step says about its plugin. The agent has its own.
const (
	maxArguments = 100
	maxSetup     = 4096 // bytes of one value
)

// setup checks what a step asks for besides running its plugin: that it is installed,
// and how, or with which arguments it runs. Whether the agent does any of it is for the
// agent's own configuration to say.
func (c *checker) setup(path []any, a action) (string, api.PluginConfiguration) {
	s, where := a.Setup, at(path, "plugin_configuration")
	out := api.PluginConfiguration{
		Digest: s.Digest, PluginURL: s.PluginURL, RepositoryURL: s.RepositoryURL, Branch: s.Branch, Tag: s.Tag,
		CommitHash: s.CommitHash, SubDirectory: s.SubDirectory, EntryPoint: s.EntryPoint, Arguments: s.Arguments, Environment: s.Environment,
	}
	types := []string{api.TypeExecute, api.TypeInstall, api.TypeUpdate, api.TypeRemove}
	if c.doc.Has(at(path, "type")) && !slices.Contains(types, a.Type) {
		c.fail(at(path, "type"), "type %q: must be execute, plugin_install, plugin_update or plugin_remove", a.Type)
	}
	c.setupSizes(where, s)
	if a.Type == "" || a.Type == api.TypeExecute {
		for _, key := range []string{"plugin_url", "repository_url", "branch", "tag", "commit_hash", "sub_directory"} {
			if c.doc.Has(at(where, key)) {
				c.fail(at(where, key), "%s is for type plugin_install and plugin_update: to execute, a step names a plugin that is installed", key)
			}
		}
		return a.Type, out
	}
	for _, key := range []string{"with", "sandbox"} {
		if c.doc.Has(at(path, key)) {
			c.fail(at(path, key), "%s is for a plugin that runs: leave it out of a step of type %s", key, a.Type)
		}
	}
	for _, key := range []string{"arguments", "environment", "entrypoint"} {
		if c.doc.Has(at(where, key)) {
			c.fail(at(where, key), "%s is for a plugin that runs: leave it out of a step of type %s", key, a.Type)
		}
	}
	return a.Type, out
}

func (c *checker) setupSizes(where []any, s setup) {
	if len(s.Arguments) > maxArguments || len(s.Environment) > maxArguments {
		c.fail(where, "%d arguments and %d environment variables, at most %d of each", len(s.Arguments), len(s.Environment), maxArguments)
	}
	values := slices.Concat(
		[]string{s.Digest, s.PluginURL, s.RepositoryURL, s.Branch, s.Tag, s.CommitHash, s.SubDirectory, s.EntryPoint},
		s.Arguments, slices.Collect(maps.Keys(s.Environment)), slices.Collect(maps.Values(s.Environment)))
	for _, v := range values {
		if len(v) > maxSetup {
			c.fail(where, "%.40q… has %d bytes, at most %d", v, len(v), maxSetup)
		}
	}
}
