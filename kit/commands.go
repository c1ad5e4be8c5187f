package kit

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/agent"
)

// Reenter returns unless this process was started to confine a plugin. The main
// function calls it first.
func Reenter() { agent.Reenter() }

// Commands returns `stavily plugin` and `stavily keys`.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		group("plugin", "Write, test and pack plugins", newCommand(), validateCommand(), testCommand(), runCommand(), packCommand(), signCommand()),
		group("keys", "Make keys that sign plugins, and have agents trust them", createKeyCommand(), trustKeyCommand()),
	}
}

// group is a command that only holds others, and shows its help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			unknown := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				unknown = fmt.Errorf("%w: did you mean %q?", unknown, near[0])
			}
			return unknown
		},
	}
	c.AddCommand(commands...)
	return c
}

// asJSON reports whether the root's -o asks for JSON.
func asJSON(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("output")
	return f != nil && f.Value.String() == "json"
}

func showJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printer writes to a person and keeps the first error of doing so.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = terminal.Printable(text)
		}
	}
	if _, err := fmt.Fprintf(p.w, format, args...); p.err == nil {
		p.err = err
	}
}

// Mistake is something wrong in a file of a plugin, or to think about.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func (m Mistake) String() string {
	return (&strictyaml.Error{File: m.File, Line: m.Line, Column: m.Column, Message: m.Message}).Error()
}

func mistakesOf(errs strictyaml.Errors) []Mistake {
	var out []Mistake
	for _, e := range errs {
		out = append(out, Mistake{File: e.File, Line: e.Line, Column: e.Column, Message: e.Message})
	}
	return out
}

// counted is "1 mistake" or "2 mistakes".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", thousands(n), what)
}

// thousands writes 1000 as 1,000.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// lines are the non-empty lines of a text.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
}
