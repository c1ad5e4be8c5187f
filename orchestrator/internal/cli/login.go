package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// loginLife is how long a login is good unless it says otherwise: a working day.
const loginLife = 12 * time.Hour

// maxPassword is far more than the server takes.
const maxPassword = 4 << 10

func loginCommand() *cobra.Command {
	var r remote
	var user, role, passwordFile, caFile string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "login NAME --url https://HOST:PORT --user USER",
		Short: "Log in to a server by password, and operate it from now on",
		Long: `Log in to a server by password, and operate it from now on. The password is asked for, and
not kept: what is kept, in the context NAME, is an API token with the role of the user, which
ends by itself. A context of that name gets the new token; without --url it keeps its server.`,
		Example: `  stavily login prod --url https://stavily.example.com:8444 --ca-file ca.crt --user ann
  stavily login prod --user ann                 # again, when the token has ended
  stavily login lab --user acme/ann --role viewer --password-file - < password`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := loginServer(args[0], r, caFile)
			if err != nil {
				return err
			}
			l := operatorapi.LoginRequest{Org: route.DefaultOrg, User: user}
			if org, name, found := strings.Cut(user, "/"); found {
				l.Org, l.User = api.OrgID(org), name
			}
			if l.User == "" {
				return usageError{errors.New("--user is required: USER, or ORGANISATION/USER")}
			}
			if role != "" {
				if err := roleOf(role); err != nil {
					return err
				}
			}
			if err := checkTTL(ttl, account.MaxTokenLife); err != nil {
				return err
			}
			if l.Password, err = passwordInput(cmd, passwordFile, user); err != nil {
				return err
			}
			server.Token = ""
			t, err := server.client().LoginForToken(cmd.Context(), l, operatorapi.APITokenRequest{
				Name: loginName(time.Now()), Role: role, TTLSeconds: int64(ttl / time.Second), Note: "stavily login",
			})
			if err != nil {
				return fmt.Errorf("log in to %s: %w", server.URL, err)
			}
			server.Token = t.Secret
			if err := keepContext(server, true); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "You are %s with the role %s at %s until %s. Context %s is in use.\n", t.Token.User, t.Token.Role, server.URL, full(t.Token.ExpiresAt), server.Name)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&r.URL, "url", "", "`address` of the server's web listener (default: that of the context)")
	f.StringVar(&user, "user", "", "`name` of the user, or ORGANISATION/NAME (required)")
	f.StringVar(&role, "role", "", "`role` that the login gives at most: "+account.AllRoles()+" (default: the user's own)")
	f.DurationVar(&ttl, "ttl", loginLife, "how long it is good")
	f.StringVar(&passwordFile, "password-file", "", "`file` with the password, or - for standard input (default: ask at the terminal)")
	f.StringVar(&caFile, "ca-file", "", "`file` with the CA that the server's certificate must be of: its ca/ca.crt")
	f.StringVar(&r.CAFingerprint, "ca-fingerprint", "", "`sha256:…` of that CA instead, which the server says at its start")
	c.MarkFlagsMutuallyExclusive("ca-file", "ca-fingerprint")
	return c
}

// loginName names the token of a login, which two of one user in the same second do not share.
func loginName(at time.Time) string {
	return "login-" + at.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
}

// loginServer is the server of a context, as it was before where the command line says nothing
// of it.
func loginServer(name string, said remote, caFile string) (remote, error) {
	if err := checkContextName(name); err != nil {
		return remote{}, err
	}
	all, err := loadContexts()
	if err != nil {
		return remote{}, err
	}
	if before, known := all.find(name); known && said.URL == "" && said.CAFingerprint == "" && caFile == "" {
		return before, nil
	}
	if said.Name = name; said.URL == "" {
		return remote{}, usageError{fmt.Errorf("--url is required: there is no context %q whose server could be meant", name)}
	}
	if err := said.checkFlags(); err != nil {
		return remote{}, err
	}
	return said, said.readCA(caFile)
}

// passwordInput reads a password. At a terminal it is not shown.
func passwordInput(cmd *cobra.Command, file, user string) (string, error) {
	var text []byte
	var err error
	in, isFile := cmd.InOrStdin().(*os.File)
	switch {
	case file == "-":
		text, err = limits.ReadAll(cmd.InOrStdin(), maxPassword)
	case file != "":
		text, err = limits.ReadFile(file, maxPassword)
	case isFile && term.IsTerminal(int(in.Fd())):
		fmt.Fprintf(cmd.ErrOrStderr(), "Password of %s: ", user)
		text, err = term.ReadPassword(int(in.Fd()))
		_, _ = io.WriteString(cmd.ErrOrStderr(), "\n")
	default:
		return "", usageError{errors.New("there is no terminal to ask for the password at: give it with --password-file FILE or -")}
	}
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", errors.New("the password is empty")
	}
	return password, nil
}
