package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
)

const pathAPITokens = "/api/v1/api-tokens"

func apiTokensCommand(o *options) *cobra.Command {
	return group("api-tokens", "Make, list and revoke the API tokens of programs", apiTokensCreate(o), apiTokensList(o), apiTokensRevoke(o))
}

func apiTokensCreate(o *options) *cobra.Command {
	var r operatorapi.APITokenRequest
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token with which a program calls the API",
		Long: `Make a token with which a program calls the API as one of the users, and print it. It is
shown only now. It gives at most its role, and never more than its user has: when the user
loses the role or is removed, so does the token. It ends by itself.`,
		Example: `  stavily api-tokens create backup --user ci --role viewer
  stavily api-tokens create deploy --user ci --role operator --area workflows --area runs --ttl 720h
  curl --cacert ca.crt -H "Authorization: Bearer $TOKEN" https://orchestrator.example.com:8444/api/v1/runs`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := roleOf(r.Role); err != nil {
				return err
			}
			if err := checkAreas(r.Areas); err != nil {
				return err
			}
			if err := checkTTL(ttl, account.MaxTokenLife); err != nil {
				return err
			}
			r.Name, r.TTLSeconds = args[0], int64(ttl/time.Second)
			var t operatorapi.NewAPIToken
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathAPITokens, nil, r, &t); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), t)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nToken %s of %s, with the role %s%s, until %s.\n",
				t.Secret, t.Token.Name, t.Token.User, t.Token.Role, forAreas(t.Token.Areas), full(t.Token.ExpiresAt))
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&r.User, "user", "", "`name` of the user whose token it is (default: who is logged in)")
	f.StringVar(&r.Role, "role", string(account.Viewer), "`role` that it gives at most: "+account.AllRoles())
	f.StringArrayVar(&r.Areas, "area", nil, "`part` of the API that it is for, as paths name it after /api/v1/; may be given again (default: all): "+strings.Join(route.Areas(), ", "))
	f.DurationVar(&ttl, "ttl", account.DefaultTokenLife, fmt.Sprintf("how long it is good, at most %s", account.MaxTokenLife))
	f.StringVar(&r.Note, "note", "", "shown in the list of tokens")
	return c
}

// checkAreas is what the server does too, as wrong usage.
func checkAreas(areas []string) error {
	for _, area := range areas {
		if all := route.Areas(); !slices.Contains(all, area) {
			return usageError{fmt.Errorf("--area %q: must be one of %s", area, strings.Join(all, ", "))}
		}
	}
	return nil
}

func forAreas(areas []string) string {
	if len(areas) == 0 {
		return ""
	}
	return " for " + strings.Join(areas, ", ")
}

func apiTokensList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List API tokens and when they were used last",
		Example: "  stavily api-tokens list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var tokens []operatorapi.APIToken
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathAPITokens, nil, nil, &tokens); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, tokens, "No API tokens. Make one with: stavily api-tokens create NAME --user USER",
				"ID|USER|NAME|ROLE|FOR|EXPIRES|USED|FROM|NOTE", func(t operatorapi.APIToken) []string {
					return []string{t.ID, t.User, t.Name, t.Role, strings.Join(t.Areas, " "), ago(t.ExpiresAt), ago(t.UsedAt), t.Address, t.Note}
				})
		},
	}
}

func apiTokensRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End an API token at once",
		Example: "  stavily api-tokens revoke 3f2a91c0d4e5",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathAPITokens, args[0]), nil, nil, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Token %s is revoked.\n", args[0])
			return err
		},
	}
}
