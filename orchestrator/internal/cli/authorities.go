package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathCA = "/api/v1/ca"

func caCommand(o *options) *cobra.Command {
	return group("ca", "Show and replace the certificate authority", caStatus(o), caRotate(o))
}

func caStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show the certificate authorities, and which agents the next step waits for",
		Example: "  stavily ca status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var a operatorapi.Authorities
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathCA, nil, nil, &a); err != nil {
				return err
			}
			return o.showAuthorities(cmd.OutOrStdout(), a)
		},
	}
}

func caRotate(o *options) *cobra.Command {
	var r operatorapi.RotateCARequest
	c := &cobra.Command{
		Use:   "rotate [prepare|activate|taint|revoke]",
		Short: "Take the next step of replacing the certificate authority",
		Long: `Take the next step of replacing the certificate authority, while agents work. A step that
is named is taken only if it is the next one:

  prepare   make another authority; agents are told to trust it with their next heartbeat
  activate  sign with it from now on; the one before stays good
  taint     remove the key of the one before; agents renew within minutes, and trust it no more
  revoke    refuse what the one before signed

A step that would cut agents off is refused, and "ca status" names them; --force takes it.
All organisations have one authority, so this is for who may open the server's socket.`,
		Example: `  stavily ca rotate prepare
  stavily ca rotate`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Step = strings.Join(args, "")
			var a operatorapi.Authorities
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathCA+"/rotate", nil, r, &a); err != nil {
				return err
			}
			return o.showAuthorities(cmd.OutOrStdout(), a)
		},
	}
	c.Flags().BoolVar(&r.Force, "force", false, "take it also where agents are cut off by it, which must be enrolled again")
	return c
}

func (o *options) showAuthorities(w io.Writer, a operatorapi.Authorities) error {
	if o.structured() {
		return o.print(w, a)
	}
	err := show(w, o, a.Authorities, "", "STATE|SINCE|ENDS|FINGERPRINT", func(c operatorapi.Authority) []string {
		return []string{c.State, ago(c.Since), full(c.NotAfter), c.Fingerprint}
	})
	if err != nil {
		return err
	}
	if a.Behind == 0 {
		_, err = fmt.Fprintf(w, "\nThe next step is %s; no agent of %d would be cut off by it.\n", a.NextStep, a.Agents)
		return err
	}
	_, err = fmt.Fprintf(w, "\nThe next step is %s; it waits for %d of %d agents: %s.\n", a.NextStep, a.Behind, a.Agents, terminal.Cell(strings.Join(a.BehindNamed, ", ")))
	return err
}
