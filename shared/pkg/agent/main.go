package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/processors"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/api"
)

// Exit codes, for scripts and service managers.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks mistakes in the command line or the configuration: starting again
// without a change does not help.
var errUsage = errors.New("usage")

// Main is the whole of an agent's main function. It returns the exit code.
func Main(args []string, role Role) int {
	sandbox.Main() // returns unless this process was started to confine a plugin
	processors.Ensure()
	return service.Run(context.Background(), func(ctx context.Context) int { return execute(ctx, args, role) })
}

func execute(ctx context.Context, args []string, role Role) int {
	ctx, stop := untilSignal(ctx)
	defer stop()
	cmd := newCommand(role)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%s: %v\n", role.Program, err)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", role.Program, err)
	return exitFailed
}

// untilSignal cancels at the first SIGINT or SIGTERM. After it the signals have
// their usual effect again, so that a second one kills.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func newCommand(role Role) *cobra.Command {
	root := &cobra.Command{
		Use:   role.Program,
		Short: role.Summary,
		Long: role.Summary + `

Without a subcommand the agent runs until SIGTERM. Settings come from flags, then STAVILY_* environment
variables, then the configuration file, then defaults; "config show" prints each with its origin.`,
		Example: fmt.Sprintf(`  %[1]s enroll --base-url https://stavily.example.com:8443 --token svt_… --ca-fingerprint sha256:… --agent-id web-01
  %[1]s --config /var/lib/stavily/agent-web-01/config/agent.yaml
  %[1]s --agent-id web-01 --base-url https://stavily.example.com:8443
  %[1]s config show --agent-id web-01`, role.Program),
		Args:                       noArgs,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		Version:                    api.Version,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w (%s --help lists the flags)", errUsage, err, cmd.CommandPath())
	})
	read := registerConfig(root, role)
	load, check, start := read(nil), read(fitsOwnHost), read(fitsHost)
	root.Flags().BoolVar(&role.requireEnrolled, "require-enrolled", false, "end with an error instead of waiting where this agent has no certificate")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := start()
		if err != nil {
			return err
		}
		return run(cmd.Context(), loaded, start, role)
	}
	root.AddCommand(enrollCommand(role, load), configCommand(role, load, check), sandboxCommand(role, load), pluginsCommand(role, load), healthCommand(role, load), agentStatusCommand(role, load), auditCommand(role, load), reloadCommand(role, load), logLevelCommand(role, load), versionCommand())
	root.AddCommand(serviceCommands(role)...)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), api.Version+"\n")
			return err
		},
	}
}
