package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// Commands on workflow files, which need no server.

// parseFile reads and checks one workflow document.
func parseFile(cmd *cobra.Command, file string) (d *workflow.Definition, text string, err error) {
	r, err := readWorkflow(cmd.InOrStdin(), file)
	if err == nil {
		d, err = workflow.Parse(r.File, []byte(r.Text))
	}
	return d, r.Text, err
}

// placesOr makes mistakes that have a place recognisable.
func placesOr(err error) error {
	var mistakes strictyaml.Errors
	if errors.As(err, &mistakes) {
		return placesError{mistakes}
	}
	return err
}

// eachFile calls use with every file that is right, and returns the mistakes of the
// others together.
func eachFile(cmd *cobra.Command, files []string, use func(file string, d *workflow.Definition) error) error {
	var mistakes strictyaml.Errors
	for _, file := range files {
		d, _, err := parseFile(cmd, file)
		if err == nil {
			err = use(file, d)
		}
		var these strictyaml.Errors
		if !errors.As(err, &these) {
			if err != nil {
				return err
			}
			continue
		}
		mistakes = append(mistakes, these...)
	}
	if len(mistakes) > 0 {
		return placesError{mistakes}
	}
	return nil
}

// checked is what validate says of a file. One with mistakes is for programs alone: people are
// told its mistakes.
type checked struct {
	File     string            `json:"file"`
	Workflow string            `json:"workflow"` // this and the rest is of a file that is right
	Digest   string            `json:"digest"`
	Actions  int               `json:"actions"`
	Outputs  int               `json:"outputs"`
	Tests    int               `json:"tests"`
	Mistakes strictyaml.Errors `json:"mistakes"` // none: it is right
}

func workflowsValidate(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check workflow files and say every mistake with file, line and column",
		Long: `Check workflow files and say every mistake with file, line and column. Nothing is sent
anywhere; - is standard input. The tests in the files are not run: see "workflows test".

With -o json or yaml every file is on standard output with its mistakes, a list that is empty
where it is right; line and column are 0 where a mistake has no place. Exit code 1 says that
there are some.`,
		Example: "  stavily workflows validate disk-full.yaml\n  stavily workflows validate workflows/*.yaml -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			all, err := checkFiles(cmd, files)
			rows := all
			if !o.structured() {
				rows = slices.DeleteFunc(all, func(c checked) bool { return len(c.Mistakes) > 0 })
			}
			said := show(cmd.OutOrStdout(), o, rows, "No file is right.", "FILE|WORKFLOW|ACTIONS|OUTPUTS|TESTS", func(c checked) []string {
				return []string{c.File, c.Workflow, fmt.Sprint(c.Actions), fmt.Sprint(c.Outputs), fmt.Sprint(c.Tests)}
			})
			return errors.Join(err, said)
		},
	}
}

// checkFiles looks at all files. The error has the mistakes of them together.
func checkFiles(cmd *cobra.Command, files []string) (all []checked, err error) {
	var mistakes strictyaml.Errors
	for _, file := range files {
		c := checked{File: file, Mistakes: strictyaml.Errors{}} // [] for programs, and not null
		d, _, err := parseFile(cmd, file)
		switch {
		case err == nil:
			c.Workflow, c.Digest, c.Actions, c.Outputs, c.Tests = d.Name, d.Digest(), len(d.Actions), len(d.Outputs), len(d.Tests())
		case !errors.As(err, &c.Mistakes): // it could not be read: no reason to say nothing of the others
			c.Mistakes = strictyaml.Errors{{File: file, Message: strings.TrimPrefix(err.Error(), file+": ")}}
		}
		all, mistakes = append(all, c), append(mistakes, c.Mistakes...)
	}
	if len(mistakes) > 0 {
		return all, placesError{mistakes}
	}
	return all, nil
}

// tried is how the tests of one file went.
type tried struct {
	File     string           `json:"file"`
	Workflow string           `json:"workflow"`
	Tests    []workflow.Trial `json:"tests"`
}

func workflowsTest(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests that workflow files bring, without executing anything",
		Long: `Run the tests that workflow files bring: the decision and the order of the steps are computed as
the server computes them, with the ends of the steps that each test gives. Nothing is
executed, and no server is needed.`,
		Example: "  stavily workflows test disk-full.yaml\n  stavily workflows test workflows/*.yaml -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			var all []tried
			err := eachFile(cmd, files, func(file string, d *workflow.Definition) error {
				trials, err := d.TryAll(cmd.Context())
				all = append(all, tried{file, d.Name, trials})
				return err
			})
			return errors.Join(err, tell(cmd.OutOrStdout(), o, all))
		},
	}
}

func tell(w io.Writer, o *options, all []tried) error {
	if o.structured() {
		return show(w, o, all, "", "", nil)
	}
	passed, failed := 0, 0
	for _, f := range all {
		if len(f.Tests) == 0 {
			fmt.Fprintf(w, "none  %s: has no tests\n", cell(f.File))
		}
		for _, t := range f.Tests {
			word := "ok  "
			if passed++; !t.Passed {
				word, passed, failed = "FAIL", passed-1, failed+1
			}
			fmt.Fprintf(w, "%s  %s: %s\n", word, cell(f.File), cell(t.Name))
		}
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed\n", passed, failed)
	return err
}

func workflowsSchema(*options) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of workflow files, for editors",
		Long: `Print the JSON Schema of workflow files. An editor with a YAML language server completes and checks
keys with it: begin a file with "# yaml-language-server: $schema=workflow.schema.json".`,
		Example: "  stavily workflows schema > workflow.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := workflow.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func workflowsGraph(*options) *cobra.Command {
	format := "text"
	formats := []string{"text", "svg", "mermaid"}
	c := &cobra.Command{
		Use:     "graph FILE",
		Short:   "Draw a workflow file as text, SVG or Mermaid",
		Example: "  stavily workflows graph disk-full.yaml\n  stavily workflows graph disk-full.yaml --format svg > disk-full.svg",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return usageError{fmt.Errorf("--format %q: must be text, svg or mermaid", format)}
			}
			return eachFile(cmd, args, func(_ string, d *workflow.Definition) error {
				w := cmd.OutOrStdout()
				switch format {
				case "svg":
					return d.Diagram().SVG(w)
				case "mermaid":
					return d.Diagram().Mermaid(w)
				}
				for _, line := range d.Outline() {
					if _, err := fmt.Fprintln(w, printable(line)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&format, "format", format, "text, svg or mermaid")
	return c
}
