package agent

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/sealed"
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

// secretsKey is the public key that heartbeats tell.
func (rt *Runtime) secretsKey() string {
	if rt.sealing == nil {
		return ""
	}
	return rt.sealing.Public()
}

// conditionSecretsKey says that no secrets come here.
const conditionSecretsKey = "secrets_key_refused"

func (rt *Runtime) noteSecretsKey(refused bool) {
	if !refused {
		rt.Health.Clear(conditionSecretsKey)
		return
	}
	rt.Health.Set(conditionSecretsKey, Degraded, false,
		"the orchestrator gives this agent no secrets: it has told another key for them before, which data/state/secrets.key does not hold any more",
		"restore data/state/secrets.key from a backup, or enrol this agent again with a token made for it: "+rt.enrollHint())
}

var errNoSecretsKey = errors.New("this agent has no key that secrets could have been sealed to")

// WithSecrets is a task with the secrets that came with the claim of its instruction, which
// from then on are unprintable here. The instruction that was given stays as it was: what
// is journalled has no value of them.
func (rt *Runtime) WithSecrets(t Task, text string) (Task, error) {
	switch {
	case text == "" && len(t.Instruction.Secrets) > 0:
		return t, fmt.Errorf("the secrets %s of this instruction did not come with its claim", strings.Join(t.Instruction.Secrets, ", "))
	case text == "":
		return t, nil
	}
	if rt.sealing == nil {
		return t, errNoSecretsKey
	}
	i := *t.Instruction
	contents, err := rt.sealing.Open(sealed.Binding{Org: rt.organization(), Agent: rt.Config().Agent.ID, Instruction: i.ID, Attempt: i.Attempt}, text)
	if err != nil {
		return t, err
	}
	for _, secret := range contents.Hide {
		rt.hide(secret)
	}
	if i.InputData, err = contents.Into(i.InputData); err != nil {
		return t, err
	}
	t.Instruction = &i
	return t, nil
}
