package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/sealed"
)

// secretsFor seals the secrets of an instruction to the agent that claims it, and audits each
// use; a claim that is repeated gets them again. why says what keeps it from being done, for people:
// then the instruction is not to be started.
func (t *tx) secretsFor(i instruction.Instruction, id pki.Identity, p api.Progress, in instruction.Input) (text, why string, err error) {
	_, claim := in.(instruction.Claim)
	if repeated := i.Status == api.Executing && p.BootID != ""; len(i.Secrets) == 0 || !claim && !repeated {
		return "", "", nil
	}
	if _, _, refusal := instruction.Step(i, in); refusal != nil { // it would get nothing else either
		return "", "", refusal
	}
	agent, err := t.Agent(id.Agent)
	if err != nil {
		return "", "", err
	}
	if agent.SecretsKey == "" {
		return "", fmt.Sprintf("agent %s has told no key that secrets could be sealed to", id.Agent), nil
	}
	contents, used, err := t.open(i.Secrets)
	if err != nil {
		return unopened(err)
	}
	text, err = sealed.Seal(agent.SecretsKey, sealed.Binding{Org: t.org, Agent: id.Agent, Instruction: i.ID, Attempt: i.Attempt}, contents)
	if err != nil {
		return "", "", err
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		detail := fmt.Sprintf("version %d, instruction %s, attempt %d, workflow %s, run %s, step %s", used[name], i.ID, i.Attempt, i.Workflow, i.RunID, i.Step)
		if err := t.audit(actor(id), "secret.use", name, detail); err != nil {
			return "", "", err
		}
	}
	return text, "", nil
}

// errUnfit says why the secrets of an instruction are not what it needs.
type errUnfit struct{ error }

// unopened tells what people can mend from what the store or the program got wrong.
func unopened(err error) (text, why string, _ error) {
	var unfit errUnfit
	if errors.As(err, &unfit) || errors.Is(err, store.ErrNotFound) || errors.Is(err, secret.ErrNoKey) || errors.Is(err, secret.ErrDamaged) {
		return "", err.Error(), nil
	}
	return "", "", err
}

// open makes the texts of an instruction from the values of secrets, and tells which versions.
func (t *tx) open(texts []instruction.SecretText) (c sealed.Contents, used map[string]int, err error) {
	used, values, total := map[string]int{}, map[string]string{}, 0
	for _, text := range texts {
		var b strings.Builder
		for _, p := range text.Pieces {
			b.WriteString(p.Text)
			if p.Secret == "" {
				continue
			}
			value, known := values[p.Secret]
			if !known {
				var s store.Secret
				if value, s, err = t.secretValue(p.Secret); err != nil {
					return c, nil, err
				}
				values[p.Secret], used[p.Secret] = value, s.Version
				c.Hide = append(c.Hide, value)
			}
			if p.Version != 0 && used[p.Secret] != p.Version {
				return c, nil, errUnfit{fmt.Errorf("secret %s has version %d now, and the approval was of version %d", p.Secret, used[p.Secret], p.Version)}
			}
			b.WriteString(value)
		}
		if total += b.Len(); total > workflow.MaxInputBytes {
			return c, nil, errUnfit{fmt.Errorf("with its secrets the input has more than %d bytes", workflow.MaxInputBytes)}
		}
		c.Fills = append(c.Fills, sealed.Fill{Path: text.Path, Text: b.String()})
	}
	return c, used, nil
}

func checkSecretsKey(key string) error {
	if key == "" {
		return nil
	}
	if _, err := sealed.ParsePublic(key); err != nil {
		return api.Errorf(api.CodeInvalid, "secrets_key: %v.", err)
	}
	return nil
}

// secretsKey keeps to the first key that an agent told, so that whoever has stolen its TLS key
// cannot have secrets sealed to a key of their own. Another one is audited when it is first told.
func (t *tx) secretsKey(id pki.Identity, a *store.Agent, told string) (refused bool, err error) {
	switch {
	case told == "" || told == a.SecretsKey || id.Type != api.Action:
		return false, nil
	case a.SecretsKey == "":
		a.SecretsKey = told
		return false, t.audit(actor(id), "agent.secrets_key", string(id.Agent), told)
	case told == a.OtherSecretsKey:
		return true, nil
	}
	a.OtherSecretsKey = told
	return true, t.audit(actor(id), "agent.secrets_key_refused", string(id.Agent), "tells "+told+" and has told "+a.SecretsKey)
}
