package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

const pathApprovals = "/api/v1/approvals"

func approvalsCommand(o *options) *cobra.Command {
	return group("approvals", "List, approve and deny what steps of runs would do",
		approvalsList(o), approvalsJudge(o, true), approvalsJudge(o, false))
}

func approvalsList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the steps that wait for an approval, and what they would do",
		Example: "  stavily approvals list\n  stavily approvals list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := neededApprovals(cmd, o)
			if err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), all)
			}
			if len(all) == 0 {
				_, err := fmt.Fprintln(cmd.ErrOrStderr(), "Nothing waits for an approval.")
				return err
			}
			for _, a := range all {
				if err := showApproval(cmd.OutOrStdout(), a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func neededApprovals(cmd *cobra.Command, o *options) (all []operatorapi.Approval, err error) {
	err = o.client().Do(cmd.Context(), http.MethodGet, pathApprovals, nil, nil, &all)
	return all, err
}

func showApproval(w io.Writer, a operatorapi.Approval) error {
	_, err := fmt.Fprintf(w, "Run %s step %s of workflow %s (version %d), event %s: %d must approve until %s\n  digest %s\n",
		a.Run, cell(a.Step), cell(a.Workflow), a.Version, cell(string(a.EventID)), a.Count, full(a.Until), a.Digest)
	for _, s := range a.Steps {
		if err == nil {
			err = showProposal(w, s)
		}
	}
	return err
}

func showProposal(w io.Writer, s workflow.Proposal) error {
	input, does, setup := []byte("without input"), "plugin", ""
	if len(s.Input) > 0 {
		var err error
		if input, err = json.Marshal(s.Input); err != nil {
			return err
		}
	}
	if s.Type != "" {
		does = s.Type + " of plugin"
	}
	if s.Setup != nil {
		text, err := json.Marshal(s.Setup)
		if err != nil {
			return err
		}
		setup = ", plugin_configuration " + string(text)
	}
	_, err := fmt.Fprintf(w, "  %s: %s %s on %s: %s%s\n", cell(s.Step), cell(does), cell(string(s.Plugin)), cell(s.On), printable(string(input)), printable(setup))
	return err
}

func approvalsJudge(o *options, approve bool) *cobra.Command {
	use, short, done := "approve", "Approve what a step waits to do", "approved"
	if !approve {
		use, short, done = "deny", "Deny what a step waits to do", "denied"
	}
	r := operatorapi.JudgeRequest{Approve: approve}
	c := &cobra.Command{
		Use:   use + " RUN STEP",
		Short: short,
		Long: short + `. What it would do is printed, and what is decided on is that and nothing else: it is
refused if --digest names something else. All who can reach the socket are one user for the server, so
who decides is what --by says; it is put on record. Whoever is logged in decides in the own name.`,
		Example: "  stavily approvals " + use + " 01K8Z5V6J3Q0M7E2W1R9T4Y8AB ok --by ann",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := neededApprovals(cmd, o)
			if err != nil {
				return err
			}
			n := slices.IndexFunc(all, func(a operatorapi.Approval) bool { return string(a.Run) == args[0] && a.Step == args[1] })
			if n < 0 {
				return fmt.Errorf("step %q of run %q does not wait for an approval: \"stavily approvals list\" shows those that do", args[1], args[0])
			}
			if err := showApproval(cmd.OutOrStdout(), all[n]); err != nil {
				return err
			}
			o.ownName(cmd, &r.By)
			r.Digest = cmp.Or(r.Digest, all[n].Digest)
			var run operatorapi.Run
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathRuns, args[0], "approvals", url.PathEscape(args[1])), nil, r, &run); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Step %s of run %s is %s by %s; the run is %s.\n", args[1], run.ID, done, cmp.Or(r.By, "you"), run.Status)
			return err
		},
	}
	c.Flags().StringVar(&r.By, "by", person(), "`name` of who decides")
	c.Flags().StringVar(&r.Reason, "reason", "", "why, in a `sentence`")
	c.Flags().StringVar(&r.Digest, "digest", "", "`digest` of what was looked at before")
	c.Flags().Lookup("by").DefValue = "the user who calls"
	return c
}

// ownName leaves the name of who does something to the server, which knows whose token it
// is; on the local socket it is whom --by says.
func (o *options) ownName(cmd *cobra.Command, by *string) {
	if o.chosen.remote != nil && !cmd.Flags().Changed("by") {
		*by = ""
	}
}

// person is the user who calls, also through sudo.
func person() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil {
		name = cmp.Or(name, u.Username)
	}
	return name
}
