package operatorapi

import (
	"context"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Secret is what operators see of one: all but its value.
type Secret struct {
	Name      string   `json:"name"`
	Version   int      `json:"version"`
	UpdatedAt api.Time `json:"updated_at"`
	UpdatedBy string   `json:"updated_by,omitempty"`
	CreatedAt api.Time `json:"created_at"`
	UsedBy    []string `json:"used_by"`           // workflows in effect
	Problem   string   `json:"problem,omitempty"` // why this server cannot read it
}

// SecretRequest sets a value.
type SecretRequest struct {
	Value string `json:"value"`
}

// Rotation is what came of sealing all secrets with another key.
type Rotation struct {
	Key        string   `json:"key"` // id of the new one
	Sealed     int      `json:"sealed"`
	Unreadable []string `json:"unreadable"` // organisation/name
}

var secretOperations = map[route.ID]operation{
	route.SecretList:    {tag: "secrets", about: "List secrets by name, without their values", gives: []Secret{}},
	route.SecretSet:     {tag: "secrets", about: "Set the value of a secret, as a new version; no call gives it back", takes: SecretRequest{}, gives: Secret{}},
	route.SecretDelete:  {tag: "secrets", about: "Delete a secret", query: []parameter{{"force", "boolean", "true: also where workflows in effect use it"}}},
	route.SecretsRotate: {tag: "secrets", about: "Take a new key and seal every secret of every organisation with it", gives: Rotation{}},
}

// secrets are the handlers about secrets.
func (o operators) secrets() map[route.ID]route.Handler {
	return map[route.ID]route.Handler{
		route.SecretList:    o.secretList,
		route.SecretSet:     o.secretSet,
		route.SecretDelete:  o.secretDelete,
		route.SecretsRotate: o.secretsRotate,
	}
}

func (o operators) secretList(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	all, users, err := o.engine.Secrets(ctx, id)
	if err != nil {
		return nil, err
	}
	views := []Secret{}
	for _, s := range all {
		views = append(views, o.viewSecret(id, s, users[s.Name]))
	}
	return views, nil
}

func (o operators) viewSecret(org api.OrgID, s store.Secret, users []string) Secret {
	view := Secret{
		Name: s.Name, Version: s.Version, CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt), UpdatedBy: s.UpdatedBy,
		UsedBy: append([]string{}, users...),
	}
	if err := o.engine.ReadableSecret(org, s); err != nil {
		view.Problem = err.Error()
	}
	return view
}

func (o operators) secretSet(ctx context.Context, c *route.Call) (any, error) {
	var r SecretRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	s, err := o.engine.SetSecret(ctx, id, c.PathValue("id"), r.Value)
	if err != nil {
		return nil, err
	}
	return o.viewSecret(id, s, nil), nil
}

func (o operators) secretDelete(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.engine.DeleteSecret(ctx, id, c.PathValue("id"), c.Query.Get("force") == "true"))
}

func (o operators) secretsRotate(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	r, err := o.engine.RotateSecrets(ctx, id)
	if err != nil {
		return nil, err
	}
	return Rotation{r.Key, r.Sealed, append([]string{}, r.Unreadable...)}, nil
}
