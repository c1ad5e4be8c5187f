package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// envDataDir names the data directory where --data-dir does not.
const envDataDir = "STAVILY_DATA_DIR"

// options are the flags that all commands share.
type options struct {
	dataDir string
	org     string
	output  string
	context string

	chosen contextChoice // by check
}

// New returns the whole command tree. Others may add commands to it before it is
// given to [Execute].
func New() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "stavily",
		Short: "Event-driven automation: sensors notice, workflows decide, actions act",
		Long: `stavily runs the orchestrator and operates it.

Commands other than "server" talk to the server of the data directory through
its socket, as the user that the server runs as, or over HTTPS with an API token to
the server of a context ("stavily context --help").

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no server answers.`,
		Example: `  stavily server --hostname orchestrator.example.com
  stavily tokens create --type sensor --agent-id web-01
  stavily workflows apply -f disk-full.yaml
  stavily events list --follow`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil { // which cobra looks at too, but as no wrong usage
				return usageError{err}
			}
			if err := o.check(); err != nil {
				return err
			}
			if err := o.choose(cmd.Flags()); err != nil {
				return err
			}
			return o.refuseContext(cmd)
		},
	}
	onlyHolds(root)
	flags := root.PersistentFlags()
	flags.StringVar(&o.dataDir, "data-dir", defaultDataDir(), "`directory` of the server's data and socket (environment: "+envDataDir+")")
	flags.StringVar(&o.org, "org", "default", "organisation to operate in")
	flags.StringVar(&o.context, "context", "", "`name` of the server to operate, see stavily context (environment: "+envContext+")")
	flags.StringVarP(&o.output, "output", "o", "table", "output `format`: table, json or yaml")
	root.AddCommand(serverCommand(o), migrateCommand(o), versionCommand(o),
		caCommand(o), tokensCommand(o), agentsCommand(o), pluginsCommand(o), workflowsCommand(o), runsCommand(o), approvalsCommand(o),
		eventsCommand(o), explainCommand(o), replayCommand(o), auditCommand(o),
		contextCommand(o), loginCommand(), doctorCommand(o), debugCommand(o), fsckCommand(o), backupCommand(o), restoreCommand(o),
		secretsCommand(o), usersCommand(o), apiTokensCommand(o))
	addWatch(root)
	return root
}

// usageError is an error in how a command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// placesError is lines of file:line:column: message. They are printed as they are,
// so that editors find the places.
type placesError struct{ error }

func (o *options) check() error {
	if !slices.Contains([]string{"table", "json", "yaml"}, o.output) {
		return usageError{fmt.Errorf("--output %q: must be table, json or yaml", o.output)}
	}
	if err := api.OrgID(o.org).Validate(); err != nil {
		return usageError{fmt.Errorf("--org: %w", err)}
	}
	return nil
}

// Execute runs the command that args name and returns the exit code of the process.
// The first SIGINT or SIGTERM cancels the command's context, a second one kills.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // gives the second signal its default effect back
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	markUsage(root)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) { // asked for by the signal
		return exitOK
	}
	return report(cmd, err)
}

// report tells a person why a command failed and returns the exit code for it.
func report(cmd *cobra.Command, err error) int {
	w := cmd.ErrOrStderr()
	var refusal *api.Error
	var usage usageError
	var places placesError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(w, "stavily: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &places):
		fmt.Fprintln(w, printable(places.Error()))
		return exitFailed
	case errors.As(err, &refusal):
		say(w, refusal.Message)
		return exitFailed
	}
	say(w, err.Error())
	if errors.Is(err, operatorapi.ErrUnreachable) {
		return exitUnreachable
	}
	return exitFailed
}

func say(w io.Writer, message string) { fmt.Fprintf(w, "stavily: %s\n", printable(message)) }

// markUsage makes mistakes in flags and arguments recognisable, in all commands.
func markUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	onlyHolds(c)
	c.AddCommand(commands...)
	return c
}

// onlyHolds lets a command show its help when it is called alone. Something else than
// one of its subcommands is wrong usage, and no request for help as cobra has it.
func onlyHolds(c *cobra.Command) {
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	c.SuggestionsMinimumDistance = 2
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		unknown := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			unknown = fmt.Errorf("%w: did you mean %q?", unknown, near[0])
		}
		return unknown
	}
}

// pathOf is the path of one object of a collection, or of something of it.
func pathOf(collection, id string, rest ...string) string {
	return strings.Join(append([]string{collection, url.PathEscape(id)}, rest...), "/")
}

// systemDataDir is where a packaged server keeps its data.
var systemDataDir = filepath.Join("/var", "lib", "stavily", "server")

// defaultDataDir is the environment's, else the system's if this user may write
// there, else one below the working directory.
func defaultDataDir() string {
	if dir := os.Getenv(envDataDir); dir != "" {
		return dir
	}
	if writable(systemDataDir) {
		return systemDataDir
	}
	return "stavily-server"
}
