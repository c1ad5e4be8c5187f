package kit

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Validation is what `validate` prints as JSON.
type Validation struct {
	Valid    bool      `json:"valid"`
	Mistakes []Mistake `json:"mistakes"`
	Warnings []Mistake `json:"warnings"`
}

func validateCommand() *cobra.Command {
	python := ""
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "List every mistake of a plugin with file, line and column; nothing is run",
		Long: `Checks the manifest, its schemas with their defaults and examples, the files that it names, the syntax of the Python
source, and that handlers read only keys that the manifest has. Warnings are no mistakes: the exit code is 0 with them.`,
		Example: "  stavily plugin validate disk-space\n  stavily plugin validate . -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := validate(cmd.Context(), args[0], python)
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				err = showJSON(cmd.OutOrStdout(), v)
			} else {
				p := printer{w: cmd.OutOrStdout()}
				for _, m := range v.Mistakes {
					p.printf("%s\n", m.String())
				}
				for _, m := range v.Warnings {
					m.Message = "warning: " + m.Message
					p.printf("%s\n", m.String())
				}
				if v.Valid {
					p.printf("%s is valid, with %s\n", args[0], counted(len(v.Warnings), "warning"))
				}
				err = p.err
			}
			if err == nil && !v.Valid {
				err = fmt.Errorf("%s has %s", args[0], counted(len(v.Mistakes), "mistake"))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&python, "python", "python3", "`interpreter` that reads the source")
	return cmd
}

// validate lists the mistakes of the plugin in dir. The error says that there is nothing
// to look at.
func validate(ctx context.Context, dir, python string) (Validation, error) {
	out := Validation{Mistakes: []Mistake{}, Warnings: []Mistake{}}
	p, warnings, err := plugin.Load(dir)
	out.Warnings = append(out.Warnings, mistakesOf(warnings)...)
	var mistakes strictyaml.Errors
	switch {
	case errors.As(err, &mistakes):
		out.Mistakes = append(out.Mistakes, mistakesOf(mistakes)...)
		// The source is looked at all the same, without schemas to hold it against.
		p = &plugin.Plugin{Dir: dir, Manifest: plugin.Manifest{Runtime: plugin.Runtime{Type: plugin.Python}}}
		var found look
		if err := found.source(ctx, p, pathOf(python)); err != nil {
			out.Warnings = append(out.Warnings, Mistake{File: dir, Message: "the source is not checked: " + err.Error()})
		}
		out.Mistakes = append(out.Mistakes, found.Mistakes...)
		return out, nil
	case err != nil:
		return out, err
	}
	found, err := lookAt(ctx, p, pathOf(python))
	if err != nil {
		out.Warnings = append(out.Warnings, Mistake{File: p.Dir, Message: "the source is not checked: " + err.Error()})
	}
	out.Mistakes = append(out.Mistakes, found.Mistakes...)
	out.Warnings = append(out.Warnings, found.Warnings...)
	out.Valid = len(out.Mistakes) == 0
	return out, nil
}

// pathOf is where a program is, empty where it is not.
func pathOf(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}
