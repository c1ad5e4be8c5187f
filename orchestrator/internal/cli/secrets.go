package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathSecrets = "/api/v1/secrets"

// maxSecretInput is more than a value may have, so that the server says how much that is.
const maxSecretInput = 64 << 10

func secretsCommand(o *options) *cobra.Command {
	return group("secrets", "Set, list and delete secrets that workflows use, and rotate their key",
		secretsSet(o), secretsList(o), secretsRemove(o), secretsRotate(o))
}

func secretsSet(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Set the value of a secret, read from standard input or a file",
		Long: `Set the value of a secret. It is read from standard input, or from --file, and never
given as an argument, which others on this host could see. One line's end after it is
left out. Nothing gives it back: only steps of workflows that name it get it, as
${{ secrets.NAME }}.

Set again it is a new version. Steps get it from then on, but for those that were
approved with the version before: they fail.`,
		Example: `  stavily secrets set slack_token < token.txt
  pass show deploy | stavily secrets set deploy_key
  stavily secrets set tls_key --file server.key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := secretInput(cmd, file)
			if err != nil {
				return err
			}
			var s operatorapi.Secret
			if err := o.client().Do(cmd.Context(), http.MethodPut, pathOf(pathSecrets, args[0]), nil, operatorapi.SecretRequest{Value: value}, &s); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Secret %s is set, version %d.\n", s.Name, s.Version)
			return err
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "read the value from this `file`")
	return c
}

// secretInput reads a value. At a terminal it says what it waits for.
func secretInput(cmd *cobra.Command, file string) (string, error) {
	in := cmd.InOrStdin()
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok && isTerminal(f) {
		fmt.Fprintln(cmd.ErrOrStderr(), "Type the value, which is shown, and end it with Ctrl-D; or give it with < FILE.")
	}
	text, err := limits.ReadAll(in, maxSecretInput)
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return "", usageError{errors.New("the value is empty: give it on standard input or with --file")}
	}
	return value, nil
}

func secretsList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List secrets, without their values, and the workflows that use them",
		Example: "  stavily secrets list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []operatorapi.Secret
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathSecrets, nil, nil, &all); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, all, "No secrets. Set one with: stavily secrets set NAME < FILE",
				"NAME|VERSION|SET|BY|USED BY|PROBLEM", func(s operatorapi.Secret) []string {
					return []string{s.Name, strconv.Itoa(s.Version), ago(s.UpdatedAt), s.UpdatedBy, strings.Join(s.UsedBy, ", "), s.Problem}
				})
		},
	}
}

func secretsRemove(o *options) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Delete a secret",
		Example: "  stavily secrets rm slack_token",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if force {
				query.Set("force", "true")
			}
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathSecrets, args[0]), query, nil, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Secret %s is deleted.\n", args[0])
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also where workflows in effect use it: their steps are rejected from then on")
	return c
}

func secretsRotate(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Take a new key and seal every secret of every organisation with it",
		Long: `Take a new key and seal every secret of every organisation with it. Values stay as
they are. Where keys are in a file, the server makes the new one and removes the old
one at the next rotation or start; where a command prints them, it is run again, and
the key that it prints first is used.`,
		Example: "  stavily secrets rotate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r operatorapi.Rotation
			if err := o.client().Do(cmd.Context(), http.MethodPost, "/api/v1/secrets/rotate", nil, nil, &r); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), r)
			}
			return showRotation(cmd.OutOrStdout(), r)
		},
	}
}

func showRotation(w io.Writer, r operatorapi.Rotation) error {
	_, err := fmt.Fprintf(w, "%d secrets are sealed with key %s.\n", r.Sealed, r.Key)
	if err == nil && len(r.Unreadable) > 0 {
		_, err = fmt.Fprintf(w, "Not readable, and as they were: %s. Restore their key, or set them again.\n", terminal.Cell(strings.Join(r.Unreadable, ", ")))
	}
	return err
}
