package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
)

// secretText is a text of `with` that secrets are part of.
type secretText struct {
	path []string // from the name of the parameter on
	text composed
}

// SecretUse is a place of a document that names a secret.
type SecretUse struct {
	Name  string
	place strictyaml.Error // where it stands, without a message
}

// Missing is the error of a document that names a secret that is not there.
func (u SecretUse) Missing() *strictyaml.Error {
	e := u.place
	e.Message = fmt.Sprintf("there is no secret %q: make it with `stavily secrets set %s`", u.Name, u.Name)
	return &e
}

// Secrets are the places that name secrets, in the order of the document's steps.
func (d *Definition) Secrets() []SecretUse { return slices.Clone(d.secrets) }

// Knowing is the definition with the versions that its secrets have now, by name. Approvals
// are of these: a run that goes on with others does not do what was approved.
func (d *Definition) Knowing(versions map[string]int) *Definition {
	out := *d
	out.versions = maps.Clone(versions)
	return &out
}

// shownSecret stands for a secret wherever people look.
func shownSecret(name string) string { return "[secret " + name + "]" }

// secretTexts computes the texts of a step that secrets are part of. pinned binds them to
// the versions that the definition knows.
func (d *Definition) secretTexts(texts []secretText, values expr.Values, pinned bool) ([]instruction.SecretText, error) {
	var out []instruction.SecretText
	for _, t := range texts {
		made := instruction.SecretText{Path: t.path}
		for _, p := range t.text.pieces {
			if p.secret == "" {
				text, err := p.append(nil, values)
				if err != nil {
					return nil, located(t.text.where, err)
				}
				made.Pieces = append(made.Pieces, instruction.SecretPiece{Text: string(text)})
				continue
			}
			piece := instruction.SecretPiece{Secret: p.secret}
			if pinned {
				piece.Version = d.versions[p.secret]
			}
			made.Pieces = append(made.Pieces, piece)
		}
		out = append(out, made)
	}
	return out, nil
}

// secret checks a use of a secret and notes it.
func (c *checker) secret(path []any, p expr.Part, name string) string {
	e := c.doc.Errorf(path, "%v", instruction.CheckSecretName(name))
	if n := c.doc.Node(path); n != nil {
		e.Line, e.Column = place(c.src, n, p.Offset+len(p.Text)-len(strings.TrimLeft(p.Text, " \t\n")))
	}
	if instruction.CheckSecretName(name) != nil {
		c.errs = append(c.errs, e)
	}
	c.count(path)
	c.def.secrets = append(c.def.secrets, SecretUse{name, *e})
	return name
}

// inWith is a path of the document as one of the input.
func (c *checker) inWith(path []any) []string {
	var out []string
	for _, key := range path[len(c.withPath):] {
		out = append(out, fmt.Sprint(key))
	}
	return out
}
