package strictyaml

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// File is the name that the document was loaded under.
func (d *Doc) File() string { return d.file }

// Unknown lists the keys that nothing reads, where WarnUnknown was given.
func (d *Doc) Unknown() Errors { return d.unknown }

// Errorf makes an error at the value that path leads to. The elements of path are
// keys (string) and indices (int); where the value is absent, the nearest
// ancestor that is there is named.
func (d *Doc) Errorf(path []any, format string, args ...any) *Error {
	line, column := d.Pos(path)
	return &Error{File: d.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
}

// Pos is where the value at path, or its nearest ancestor, begins, counted from
// 1; it is 0, 0 in an empty file.
func (d *Doc) Pos(path []any) (line, column int) {
	n, _ := d.find(path)
	if n == nil {
		return 0, 0
	}
	return n.Line, n.Column
}

// Has reports whether a value stands at path.
func (d *Doc) Has(path []any) bool {
	_, found := d.find(path)
	return found
}

// Node is the node at path, or nil. Its text is as written, which the offsets of
// an expression inside it need.
func (d *Doc) Node(path []any) *yaml.Node {
	if n, found := d.find(path); found {
		return n
	}
	return nil
}

// find follows path as far as it goes and says whether it went to the end.
func (d *Doc) find(path []any) (*yaml.Node, bool) {
	n := d.root
	if n == nil {
		return nil, false
	}
	for _, step := range path {
		next := child(n, step)
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

func child(n *yaml.Node, step any) *yaml.Node {
	switch step := step.(type) {
	case string:
		if n.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	case int:
		if n.Kind == yaml.SequenceNode && step >= 0 && step < len(n.Content) {
			return n.Content[step]
		}
	}
	return nil
}
