package workflow

import (
	"encoding/json"
	"fmt"
	"math"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// MaxInputBytes is the largest input of one step, as JSON: as large as a result,
// so that one step's result can be the next one's input.
const MaxInputBytes = api.MaxResultBytes

var errInputTooLarge = fmt.Errorf("the input is %w: more than %d bytes", limits.ErrTooLarge, MaxInputBytes)

// template is a value of `with`: JSON with expressions in it. append adds it to b
// as JSON. What expressions add stops at MaxInputBytes, what the document itself
// holds is bounded by MaxBytes; the error names the value.
type template interface {
	append(b []byte, values expr.Values) ([]byte, error)
}

type (
	constant json.RawMessage // holds no expression
	computed struct {        // one expression, which keeps its type
		where   string
		program *expr.Program
	}
	composed struct { // text with expressions or secrets in it
		where  string
		pieces []piece
	}
	list   []template
	object []field
)

// piece is literal text, an expression whose value becomes text, or a secret.
type piece struct {
	text    string
	program *expr.Program
	secret  string // its name
}

// field is one key of an object.
type field struct {
	key   string
	value template
}

func (t constant) append(b []byte, _ expr.Values) ([]byte, error) {
	return append(b, t...), nil
}

func (t computed) append(b []byte, values expr.Values) ([]byte, error) {
	v, err := t.program.Eval(values)
	if err == nil {
		b, err = v.AppendJSON(b, MaxInputBytes)
	}
	return b, located(t.where, err)
}

func (t composed) append(b []byte, values expr.Values) ([]byte, error) {
	var text []byte
	for _, p := range t.pieces {
		var err error
		if text, err = p.append(text, values); err != nil {
			return b, located(t.where, err)
		}
	}
	quoted, err := json.Marshal(string(text))
	if err == nil && len(b)+len(quoted) > MaxInputBytes {
		err = errInputTooLarge
	}
	return append(b, quoted...), located(t.where, err)
}

// append adds what people are shown: of a secret its name.
func (p piece) append(text []byte, values expr.Values) ([]byte, error) {
	switch {
	case p.secret != "":
		return append(text, shownSecret(p.secret)...), nil
	case p.program == nil:
		return append(text, p.text...), nil
	}
	v, err := p.program.Eval(values)
	if err != nil {
		return text, err
	}
	return v.AppendText(text, MaxInputBytes)
}

func (t list) append(b []byte, values expr.Values) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i, item := range t {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = item.append(b, values); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func (t object) append(b []byte, values expr.Values) ([]byte, error) {
	b = append(b, '{')
	for i, f := range t {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(f.key)
		if err != nil {
			return b, err
		}
		b = append(append(b, key...), ':')
		if b, err = f.value.append(b, values); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func located(where string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// render computes the input of a step.
func render(with []field, values expr.Values) (map[string]json.RawMessage, error) {
	input := make(map[string]json.RawMessage, len(with))
	total := 0
	for _, f := range with {
		b, err := f.value.append(nil, values)
		if err != nil {
			return nil, err
		}
		if total += len(f.key) + len(b); total > MaxInputBytes {
			return nil, located("with", errInputTooLarge)
		}
		input[f.key] = b
	}
	return input, nil
}

// with compiles the values of a step, and says where secrets are part of them.
func (c *checker) with(path []any, scope expr.Scope) ([]field, []secretText) {
	n := c.doc.Node(path)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	scope.With = true
	c.withPath, c.secretTexts = path, nil
	return c.fields(n, "with", path, scope), c.secretTexts
}

func (c *checker) fields(n *yaml.Node, where string, path []any, scope expr.Scope) []field {
	var out []field
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if !c.isText(key) {
			continue
		}
		out = append(out, field{key.Value, c.template(n.Content[i+1], where+"."+key.Value, at(path, key.Value), scope)})
	}
	return out
}

// template compiles the value of n, which stands at path.
func (c *checker) template(n *yaml.Node, where string, path []any, scope expr.Scope) template {
	switch n.Kind {
	case yaml.MappingNode:
		return object(c.fields(n, where, path, scope))
	case yaml.SequenceNode:
		out := make(list, len(n.Content))
		for i, item := range n.Content {
			out[i] = c.template(item, fmt.Sprintf("%s[%d]", where, i), at(path, i), scope)
		}
		return out
	}
	if text, ok := c.scalar(n).(string); ok {
		return c.text(text, where, path, scope)
	}
	b, err := json.Marshal(c.scalar(n))
	if err != nil {
		c.fail(path, "%v", err)
	}
	return constant(b)
}

// text compiles a text: constant, one expression, or pieces.
func (c *checker) text(s, where string, path []any, scope expr.Scope) template {
	parts, err := expr.Split(s)
	if err != nil {
		c.report(path, 0, []expr.Problem{{Offset: parts[0].Offset, Message: err.Error()}})
		return constant("null")
	}
	var pieces []piece
	expressions, secrets := 0, 0
	for _, p := range parts {
		name, secret := expr.SecretName(p.Text)
		switch {
		case !p.Expression:
			pieces = append(pieces, piece{text: p.Text})
		case secret:
			secrets++
			pieces = append(pieces, piece{secret: c.secret(path, p, name)})
		default:
			expressions++
			pieces = append(pieces, piece{program: c.expression(path, p, scope)})
		}
	}
	switch {
	case secrets > 0:
		out := composed{where, pieces}
		c.secretTexts = append(c.secretTexts, secretText{c.inWith(path), out})
		return out
	case expressions == 0:
		quoted, err := json.Marshal(s)
		if err != nil {
			c.fail(path, "%v", err)
		}
		return constant(quoted)
	case len(parts) == 1:
		return computed{where, pieces[0].program}
	}
	return composed{where, pieces}
}

func (c *checker) expression(path []any, p expr.Part, scope expr.Scope) *expr.Program {
	if !c.count(path) {
		return nil
	}
	program, problems := c.env.Compile(p.Text, scope)
	c.report(path, p.Offset, problems)
	return c.noteReads(program)
}

// value is what a node of `variables` holds, as expr.Decode gives JSON.
func (c *checker) value(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if c.isText(n.Content[i]) {
				out[n.Content[i].Value] = c.value(n.Content[i+1])
			}
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			out[i] = c.value(item)
		}
		return out
	}
	return c.scalar(n)
}

// scalar is what a scalar holds. A date is text, as it is in JSON.
func (c *checker) scalar(n *yaml.Node) any {
	var err error
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value
	case "!!null":
		return nil
	case "!!bool":
		var v bool
		if err = n.Load(&v); err == nil {
			return v
		}
	case "!!int":
		var v int64
		if err = n.Load(&v); err == nil {
			return v
		}
	case "!!float":
		var v float64
		if err = n.Load(&v); err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v
		}
	}
	c.failNode(n, "%q is not a value that can be used here: quote it to make it text", n.Value)
	return nil
}

// isText refuses keys that JSON does not have.
func (c *checker) isText(key *yaml.Node) bool {
	if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!str" {
		return true
	}
	c.failNode(key, "a key must be text: quote it")
	return false
}

func (c *checker) failNode(n *yaml.Node, format string, args ...any) {
	e := c.doc.Errorf(nil, format, args...)
	e.Line, e.Column = n.Line, n.Column
	c.errs = append(c.errs, e)
}
