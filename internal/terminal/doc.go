// Package terminal writes foreign text to people: names, messages and data that came
// from an agent or a plugin cannot move the cursor, clear the screen or reorder a line
// of whoever reads them.
//
// It owns the escaping ([Printable]) and what fits into one cell of a table ([Cell]).
// Both are pure and safe for concurrent use. Machines get the text as it is, in JSON,
// which escapes for itself.
package terminal
