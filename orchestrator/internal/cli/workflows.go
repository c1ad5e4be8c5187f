package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

const pathWorkflows = "/api/v1/workflows"

func workflowsCommand(o *options) *cobra.Command {
	c := group("workflows", "Check, test, draw, apply, compare and roll back workflows",
		workflowsValidate(o), workflowsTest(o), workflowsGraph(o), workflowsSchema(o), workflowsDiff(o), workflowsHistory(o), workflowsRollback(o),
		workflowsApply(o), workflowsRun(o), workflowsShadow(o), workflowsList(o), workflowsShow(o), workflowsDelete(o))
	c.Aliases = []string{"workflow"}
	return c
}

func workflowsApply(o *options) *cobra.Command {
	var file string
	var missing bool
	var over int
	c := &cobra.Command{
		Use:   "apply -f FILE|-",
		Short: "Check a workflow and put it into effect",
		Long: `Check a workflow, run the tests that it brings, and put it into effect as a new version.
Runs that have begun stay on the version they began with. Every mistake, and every test that
fails, is printed as file:line:column: also plugins and agents that are not there, values that
a published plugin does not take, and fields that its events do not have.`,
		Example: "  stavily workflows apply -f disk-full.yaml\n  stavily workflows apply -f disk-full.yaml --if-version 4   # nobody has changed it since\n  generate-workflow | stavily workflows apply -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readWorkflow(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			r.AllowMissing = missing
			var applied operatorapi.Applied
			client := o.client()
			switch {
			case cmd.Flags().Changed("if-version") && over == 0:
				client = client.With("If-None-Match", "*")
			case cmd.Flags().Changed("if-version"):
				client = client.With("If-Match", fmt.Sprintf(`"v%d"`, over))
			}
			err = client.Do(cmd.Context(), http.MethodPost, pathWorkflows, nil, r, &applied)
			var mistakes *api.Error
			if errors.As(err, &mistakes) && mistakes.Code == api.CodeInvalid {
				return placesError{errors.New(mistakes.Message)}
			}
			if err != nil {
				return err
			}
			for _, w := range applied.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s (warning)\n", w)
			}
			return tellApplied(cmd.OutOrStdout(), o, applied)
		},
	}
	c.Flags().Var((*natural)(&over), "if-version", "only over this `version`, as it is in effect; 0: only where there is none")
	c.Flags().BoolVar(&missing, "allow-missing", false, "only warn of plugins and agents that are not there")
	c.Flags().StringVarP(&file, "file", "f", "", "`file` with the workflow, or - for standard input (required)")
	return c
}

func tellApplied(w io.Writer, o *options, applied operatorapi.Applied) error {
	if o.structured() {
		return o.print(w, applied)
	}
	said := "Workflow %s is unchanged at version %d.\n"
	if applied.Changed {
		said = "Workflow %s is now at version %d.\n"
	}
	_, err := fmt.Fprintf(w, said, applied.Name, applied.Version)
	return err
}

func readWorkflow(stdin io.Reader, file string) (operatorapi.ApplyRequest, error) {
	var text []byte
	var err error
	switch file {
	case "":
		return operatorapi.ApplyRequest{}, usageError{errors.New("--file is required: the workflow to apply, or - for standard input")}
	case "-":
		file = "stdin"
		text, err = limits.ReadAll(stdin, strictyaml.MaxBytes)
	default:
		text, err = limits.ReadFile(file, strictyaml.MaxBytes)
	}
	if errors.Is(err, os.ErrNotExist) {
		return operatorapi.ApplyRequest{}, fmt.Errorf("%s: no such file", file)
	}
	return operatorapi.ApplyRequest{File: file, Text: string(text)}, err
}

func workflowsList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the workflows in effect",
		Example: "  stavily workflows list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			workflows, err := workflowsInEffect(cmd, o)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, workflows, "No workflows. Apply one with: stavily workflows apply -f FILE",
				"NAME|VERSION|APPLIED|DIGEST", func(w operatorapi.Workflow) []string {
					return []string{w.Name, strconv.Itoa(w.Version), ago(w.AppliedAt), w.Digest}
				})
		},
	}
}

func workflowsInEffect(cmd *cobra.Command, o *options) (out []operatorapi.Workflow, err error) {
	return out, o.client().Do(cmd.Context(), http.MethodGet, pathWorkflows, nil, nil, &out)
}

func workflowsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Print the text of a workflow as it is in effect",
		Example: "  stavily workflows show disk-full > disk-full.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var w operatorapi.Workflow
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathWorkflows, args[0]), nil, nil, &w); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), w)
			}
			_, err := io.WriteString(cmd.OutOrStdout(), w.Text)
			return err
		},
	}
}

func workflowsDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Let a workflow start no more runs",
		Long:    "Let a workflow start no more runs. Runs that have begun end as they would have,\nand its history stays.",
		Example: "  stavily workflows delete disk-full",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathWorkflows, args[0]), nil, nil, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Workflow %s is deleted.\n", args[0])
			return err
		},
	}
}
