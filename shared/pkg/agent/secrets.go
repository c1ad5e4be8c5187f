package agent

import (
	"net/url"

	"github.com/stavily/agents/shared/pkg/api"
)

// hide makes the secrets of a task's configuration unprintable before its process
// starts: in the agent's log and the plugin's, in what is sent of both, in health,
// heartbeats and results. What a plugin writes elsewhere is its own affair.
func (p *Plugins) hide(t Task) {
	_, whole, err := configuration(t.Plugin, t.Settings)
	if err != nil {
		return // then nothing starts
	}
	for _, secret := range t.Plugin.Configuration.Secrets(whole) {
		p.rt.hide(secret)
	}
}

// Redact takes the secrets of plugins out of a text that leaves the agent.
func (rt *Runtime) Redact(text string) string { return rt.secrets.Redact(text) }

func (rt *Runtime) hide(secret string) {
	if _, known := rt.hidden.LoadOrStore(secret, true); !known {
		rt.secrets.Add(secret)
	}
}

// hideIndex does the same for who the agent is to the package index.
func (rt *Runtime) hideIndex() {
	if u, err := url.Parse(rt.Config().Plugins.Python.IndexURL.Reveal()); err == nil && u.User != nil {
		password, _ := u.User.Password()
		rt.hide(password)
		rt.hide(u.User.String())
	}
}

// infos are the plugins as heartbeats tell them.
func (rt *Runtime) infos() []api.PluginInfo {
	out := rt.Plugins.Infos()
	for i := range out {
		out[i].Message = rt.secrets.Redact(out[i].Message)
	}
	return out
}

// assignedStates are the packages that this agent is to have, as heartbeats tell them.
func (rt *Runtime) assignedStates() []api.AssignedState {
	out := rt.assigned.list()
	for i := range out {
		out[i].Message = rt.secrets.Redact(out[i].Message)
	}
	return out
}
