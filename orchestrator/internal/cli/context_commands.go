package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

func contextCommand(o *options) *cobra.Command {
	c := group("context", "Choose which server commands operate", contextAdd(o), contextUse(), contextList(o), contextRemove())
	c.Long = `Choose which server commands operate. A context is a server that is reached over HTTPS with
an API token; "local" is the socket of the data directory on this host. Contexts are kept in
stavily/contexts.json in the user's directory of configurations (on Linux ~/.config), which
must be readable by the user alone.

A command means, in this order: --data-dir; --context or ` + envContext + `; ` + envDataDir + `; the
context in use; the local one.`
	return c
}

func contextAdd(o *options) *cobra.Command {
	var r remote
	var tokenFile, caFile string
	var use bool
	c := &cobra.Command{
		Use:   "add NAME --url https://HOST:PORT --token-file FILE|-",
		Short: "Add a server, or change one, after a look whether it answers",
		Long: `Add a server, or change one, after a look whether it answers. The token comes from a file or
from standard input, never from the command line, which others on the host can read. Without
a CA file or fingerprint the server must have a certificate that this host trusts.`,
		Example: `  stavily context add prod --url https://stavily.example.com:8444 --ca-file ca.crt --token-file - < token
  stavily context add lab --url https://lab:8444 --ca-fingerprint sha256:… --token-file token --use`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if err := checkContextName(r.Name); err != nil {
				return err
			}
			if err := readSecrets(cmd, &r, tokenFile, caFile); err != nil {
				return err
			}
			var h operatorapi.Health
			// A token that is for a part of the API only may not ask for the server's health.
			if err := r.client().Do(cmd.Context(), http.MethodGet, "/api/v1/health", nil, nil, &h); err != nil && api.CodeOf(err) != api.CodeForbidden {
				return fmt.Errorf("context %s is not added: %w", r.Name, err)
			}
			if err := keepContext(r, use); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Context %s is added: %s.\n", r.Name, r.URL)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&r.URL, "url", "", "`address` of the server's web listener (required)")
	f.StringVar(&tokenFile, "token-file", "", "`file` with an API token, or - for standard input (required)")
	f.StringVar(&caFile, "ca-file", "", "`file` with the CA that the server's certificate must be of: its ca/ca.crt")
	f.StringVar(&r.CAFingerprint, "ca-fingerprint", "", "`sha256:…` of that CA instead, which the server says at its start")
	f.BoolVar(&use, "use", false, "operate this server from now on")
	c.MarkFlagsMutuallyExclusive("ca-file", "ca-fingerprint")
	return c
}

func readSecrets(cmd *cobra.Command, r *remote, tokenFile, caFile string) error {
	if r.URL == "" || tokenFile == "" {
		return usageError{errors.New("--url and --token-file are required")}
	}
	if err := r.checkFlags(); err != nil {
		return err
	}
	const maxToken = 4 << 10
	var text []byte
	var err error
	if tokenFile == "-" {
		text, err = limits.ReadAll(cmd.InOrStdin(), maxToken)
	} else {
		text, err = limits.ReadFile(tokenFile, maxToken)
	}
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if r.Token = strings.TrimSpace(string(text)); r.Token == "" || strings.ContainsAny(r.Token, " \r\n\t") {
		return errors.New("token: must be one word; make one with `stavily api-tokens create`")
	}
	return r.readCA(caFile)
}

// checkFlags looks at what the command line says of a server, before a file is read.
func (r *remote) checkFlags() error {
	if _, err := r.tls(); err != nil {
		return usageError{err}
	}
	return nil
}

// readCA reads the CA that the server's certificate must be of; no file is every public one.
func (r *remote) readCA(file string) error {
	if file == "" {
		return nil
	}
	const maxCA = 1 << 20
	text, err := limits.ReadFile(file, maxCA)
	if err != nil {
		return fmt.Errorf("CA: %w", err)
	}
	r.CAPEM = string(text)
	return nil
}

func checkContextName(name string) error {
	if name == local || api.AgentID(name).Validate() != nil {
		return usageError{fmt.Errorf("context %q: must be letters, digits and . _ -, and not %q, which is the local server", name, local)}
	}
	return nil
}

// keepContext keeps a context, in the place of one of its name.
func keepContext(r remote, use bool) error {
	all, err := loadContexts()
	if err != nil {
		return err
	}
	all.Servers = append(slices.DeleteFunc(all.Servers, func(other remote) bool { return other.Name == r.Name }), r)
	if use {
		all.Current = r.Name
	}
	return all.save()
}

func contextUse() *cobra.Command {
	return &cobra.Command{
		Use:     "use NAME",
		Short:   "Operate this server from now on; local is the one of this host",
		Example: "  stavily context use prod\n  stavily context use local",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			if _, ok := all.find(args[0]); !ok && args[0] != local {
				return fmt.Errorf("there is no context %q; stavily context list shows those there are", args[0])
			}
			if all.Current = args[0]; all.Current == local {
				all.Current = ""
			}
			return all.save()
		},
	}
}

// shownContext is what people see of a context: never its token.
type shownContext struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	URL     string `json:"url,omitempty"`
}

func contextList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the contexts and which is in use",
		Example: "  stavily context list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			rows := []shownContext{{Name: local, Current: all.Current == ""}}
			for _, r := range all.Servers {
				rows = append(rows, shownContext{r.Name, r.Name == all.Current, r.URL})
			}
			return show(cmd.OutOrStdout(), o, rows, "", "IN USE|NAME|SERVER", func(c shownContext) []string {
				mark, where := "", c.URL
				if c.Current {
					mark = "*"
				}
				if where == "" {
					where = "the socket in " + o.dataDir
				}
				return []string{mark, c.Name, where}
			})
		},
	}
}

func contextRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Forget a context; its token stays good until it is revoked",
		Example: "  stavily context remove lab",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := loadContexts()
			if err != nil {
				return err
			}
			if _, ok := all.find(args[0]); !ok {
				return fmt.Errorf("there is no context %q; stavily context list shows those there are", args[0])
			}
			all.Servers = slices.DeleteFunc(all.Servers, func(r remote) bool { return r.Name == args[0] })
			if all.Current == args[0] {
				all.Current = ""
			}
			if err := all.save(); err != nil {
				return err
			}
			_, err = io.WriteString(cmd.ErrOrStderr(), "Context "+args[0]+" is removed. Revoke its token as well, with `stavily api-tokens revoke`, unless others use it.\n")
			return err
		},
	}
}
