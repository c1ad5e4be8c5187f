package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathUsers = "/api/v1/users"

func usersCommand(o *options) *cobra.Command {
	return group("users", "Add, change, invite and remove users", usersAdd(o), usersChange(o), usersInvite(o), usersList(o), usersRemove(o))
}

func usersAdd(o *options) *cobra.Command {
	var r operatorapi.UserRequest
	var noLink bool
	c := &cobra.Command{
		Use:   "add NAME --role ROLE",
		Short: "Add a user to the organisation",
		Long: `Add a user to the organisation, and print a one-time link with which the user chooses
a password. The link is shown only now; "users invite" makes another. An API token, and so
a context of "stavily login", makes no links: use the dashboard, or the server's host. A user
belongs to this organisation alone.

Roles, each with what those before it may: viewer sees everything but users and the audit
log; operator starts, cancels and replays; approver decides on approvals; admin sets things
up: workflows, plugins, agents, secrets, users.`,
		Example: `  stavily users add ann --role approver --group oncall
  stavily users add ci --role operator --no-link`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := roleOf(r.Role); err != nil {
				return err
			}
			r.Name = args[0]
			var u operatorapi.User
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathUsers, nil, r, &u); err != nil {
				return err
			}
			if noLink || r.Subject != "" {
				return o.showUser(cmd, u)
			}
			err := o.invite(cmd, u.Name)
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "User %s is added, and has no link yet; --no-link asks for none.\n", u.Name)
			}
			return err
		},
	}
	userFlags(c, &r)
	c.Flags().BoolVar(&noLink, "no-link", false, "make no link: for a program, which comes with API tokens alone")
	return c
}

func userFlags(c *cobra.Command, r *operatorapi.UserRequest) {
	f := c.Flags()
	f.StringVar(&r.Role, "role", "", "`role`: "+account.AllRoles()+" (required)")
	f.StringArrayVar(&r.Groups, "group", nil, "`group` that the user is in, for approvals that ask for one; may be given again")
	f.StringVar(&r.Subject, "subject", "", "`\"ISSUER SUBJECT\"` at the OpenID provider that vouches for the user")
}

// roleOf checks a role before a server is asked.
func roleOf(role string) error {
	if err := account.Role(role).Validate(); err != nil {
		return usageError{fmt.Errorf("--role: %w", err)}
	}
	return nil
}

func (o *options) showUser(cmd *cobra.Command, u operatorapi.User) error {
	if o.structured() {
		return o.print(cmd.OutOrStdout(), u)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "User %s is %s%s.\n", u.Name, u.Role, inGroups(u.Groups))
	return err
}

func inGroups(groups []string) string {
	if len(groups) == 0 {
		return ""
	}
	return ", in " + strings.Join(groups, ", ")
}

// invite prints a one-time link.
func (o *options) invite(cmd *cobra.Command, name string) error {
	var link operatorapi.Invitation
	if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathUsers, name, "invitation"), nil, nil, &link); err != nil {
		return err
	}
	if o.structured() {
		return o.print(cmd.OutOrStdout(), link)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nFor %s alone, once, until %s: whoever opens it first chooses the password.\n", link.URL, link.User, full(link.ExpiresAt))
	return err
}

func usersInvite(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "invite NAME",
		Short: "Make a one-time link to choose a password",
		Long: `Make a one-time link with which a user chooses a password: the first, or another one
where it was forgotten. Links made before end; sessions end when the password is chosen.`,
		Example: "  stavily users invite ann",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.invite(cmd, args[0]) },
	}
}

func usersChange(o *options) *cobra.Command {
	var r operatorapi.UserRequest
	c := &cobra.Command{
		Use:   "change NAME",
		Short: "Give a user another role, other groups, or take the user out of use",
		Long: `Give a user another role, other groups, or take the user out of use. What is not said
stays. Sessions and requests with more than the user has now end at once.`,
		Example: `  stavily users change ann --role admin
  stavily users change ann --group oncall --group database
  stavily users change ann --disabled`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.keepUnsaid(cmd, args[0], &r); err != nil {
				return err
			}
			var u operatorapi.User
			if err := o.client().Do(cmd.Context(), http.MethodPut, pathOf(pathUsers, args[0]), nil, r, &u); err != nil {
				return err
			}
			return o.showUser(cmd, u)
		},
	}
	userFlags(c, &r)
	c.Flags().Lookup("role").Usage = "`role`: " + account.AllRoles()
	c.Flags().BoolVar(&r.Disabled, "disabled", false, "let the user in no more, and --disabled=false again")
	return c
}

// keepUnsaid completes a change with what the user has and no flag says.
func (o *options) keepUnsaid(cmd *cobra.Command, name string, r *operatorapi.UserRequest) error {
	var all []operatorapi.User
	if err := o.client().Do(cmd.Context(), http.MethodGet, pathUsers, nil, nil, &all); err != nil {
		return err
	}
	for _, u := range all {
		if u.Name != name {
			continue
		}
		said := cmd.Flags().Changed
		if !said("role") {
			r.Role = u.Role
		}
		if !said("group") {
			r.Groups = u.Groups
		}
		if !said("subject") {
			r.Subject = u.Subject
		}
		if !said("disabled") {
			r.Disabled = u.Disabled
		}
		return roleOf(r.Role)
	}
	return fmt.Errorf("there is no user %q: \"stavily users list\" shows those there are", name)
}

func usersList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the users of the organisation",
		Example: "  stavily users list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var users []operatorapi.User
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathUsers, nil, nil, &users); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, users, "No users. Add one with: stavily users add NAME --role admin",
				"NAME|ROLE|STATE|GROUPS|LOGGED IN|ADDED|BY", func(u operatorapi.User) []string {
					return []string{u.Name, u.Role, stateOf(u), strings.Join(u.Groups, " "), ago(u.LoginAt), ago(u.CreatedAt), u.CreatedBy}
				})
		},
	}
}

func stateOf(u operatorapi.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Subject != "" && u.Password:
		return "password, OpenID"
	case u.Subject != "":
		return "OpenID"
	case u.Password:
		return "password"
	}
	return "no password"
}

func usersRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a user with all sessions and API tokens",
		Example: "  stavily users rm ann",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathUsers, args[0]), nil, nil, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "User %s is removed.\n", args[0])
			return err
		},
	}
}
