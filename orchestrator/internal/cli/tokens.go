package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathTokens = "/api/v1/tokens"

func tokensCommand(o *options) *cobra.Command {
	return group("tokens", "Make and list enrolment tokens", tokensCreate(o), tokensList(o))
}

func tokensCreate(o *options) *cobra.Command {
	var r operatorapi.TokenRequest
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create --type sensor|action",
		Short: "Make a token with which one agent can enrol",
		Long: `Make a token with which one agent can enrol, and print it with the command to run
on the agent's host. The token is shown only now.

A token made for an --agent-id enrols that agent only, and may replace an agent of
that id that is already enrolled with another key.`,
		Example: `  stavily tokens create --type action
  stavily tokens create --type sensor --agent-id web-01 --ttl 15m
  stavily tokens create --type sensor --agent-id web-01 --jwt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.AgentType.Validate() != nil {
				return usageError{fmt.Errorf("--type %q: must be sensor or action", r.AgentType)}
			}
			if err := r.AgentID.Validate(); r.AgentID != "" && err != nil {
				return usageError{fmt.Errorf("--agent-id: %w", err)}
			}
			if err := checkTTL(ttl, engine.MaxTokenTTL); err != nil {
				return err
			}
			r.TTLSeconds = int(ttl / time.Second)
			var t operatorapi.NewToken
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathTokens, nil, r, &t); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), t)
			}
			if r.JWT {
				return showJWT(cmd, t)
			}
			return showToken(cmd, t)
		},
	}
	f := c.Flags()
	f.StringVar((*string)(&r.AgentType), "type", "", "type of the agent: sensor or action (required)")
	f.StringVar((*string)(&r.AgentID), "agent-id", "", "the only agent `id` that may use the token")
	f.DurationVar(&ttl, "ttl", time.Hour, "how long the token can be used, at most 24h")
	f.StringVar(&r.Note, "note", "", "shown in the list of tokens")
	f.BoolVar(&r.JWT, "jwt", false, "make no enrolment token but the one that this agent comes with instead of a certificate; the server needs --allow-jwt")
	return c
}

// checkTTL refuses what the server, which is told whole seconds, would take for its default, and what it
// would refuse.
func checkTTL(ttl, most time.Duration) error {
	if ttl < time.Second {
		return usageError{fmt.Errorf("--ttl %s: must be at least 1s; leave it out for the default", ttl)}
	}
	if ttl > most {
		return usageError{fmt.Errorf("--ttl %s: must be at most %s", ttl, most)}
	}
	return nil
}

// showJWT prints the token alone on its line, the CA, and where both belong.
func showJWT(cmd *cobra.Command, t operatorapi.NewToken) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `%s

%s
Good until %s; the agent refreshes it. Save the token as certificates/token.jwt (mode 0600) and the
CA as certificates/ca.crt in the agent's base directory, and set in its configuration:

  api:
    base_url: %s
    auth:
      type: jwt

A token is less than a certificate: whoever reads the file is this agent, and stays it by refreshing the
token, until the agent is revoked.
`, t.Token, t.CAPEM, full(t.ExpiresAt), t.BaseURL)
	return err
}

// showToken prints the token alone on its line, then the command that uses it.
func showToken(cmd *cobra.Command, t operatorapi.NewToken) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nValid once, until %s. On the agent's host:\n\n  %s\n",
		t.Token, full(t.ExpiresAt), enrolCommand(t))
	return err
}

// enrolCommand is what a person copies to the agent's host. An id that the token
// does not say is left for them to fill in.
func enrolCommand(t operatorapi.NewToken) string {
	id := string(t.AgentID)
	if id == "" {
		id = "<agent-id>"
	}
	return fmt.Sprintf("%s-agent enroll --base-url %s --token %s --ca-fingerprint %s --agent-id %s",
		t.AgentType, t.BaseURL, t.Token, t.CAFingerprint, id)
}

func tokensList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List enrolment tokens and who used them",
		Example: "  stavily tokens list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var tokens []operatorapi.Token
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathTokens, nil, nil, &tokens); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, tokens, "No tokens. Make one with: stavily tokens create --type sensor",
				"ID|STATUS|TYPE|FOR|CREATED|EXPIRES|USED BY|NOTE", func(t operatorapi.Token) []string {
					return []string{t.ID, t.Status, string(t.AgentType), string(t.AgentID), ago(t.CreatedAt), ago(t.ExpiresAt), string(t.UsedBy), t.Note}
				})
		},
	}
}
