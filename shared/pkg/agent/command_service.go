package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// serviceUser is whom an agent runs as where nobody says otherwise (R128).
const serviceUser = "stavily"

// serviceCommands make the agent a service of its host, and start and stop that.
func serviceCommands(role Role) []*cobra.Command {
	group := &cobra.Command{
		Use:   "service",
		Short: "Ask the host's service manager about this agent",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.AddCommand(statusCommand(role))
	out := []*cobra.Command{installCommand(role), uninstallCommand(role), group}
	for _, c := range []struct {
		verb, short string
		steps       func(service.Agent) []service.Step
	}{
		{"start", "Start the installed agent", service.Start},
		{"stop", "Stop the installed agent and wait until it has ended", service.Stop},
		{"restart", "Stop the installed agent and start it again", service.Restart},
	} {
		out = append(out, controlCommand(role, c.verb, c.short, c.steps))
	}
	return out
}

func installCommand(role Role) *cobra.Command {
	var dry, replace bool
	account := serviceUser
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make this agent a service of the host: account, base directory, unit",
		Long: `Makes what is missing of the account, the base directory (private to that account) and a first configuration,
writes a hardened unit for this agent alone, and has the host start it at boot. It does not start it now: "start" does.
Repeating it is safe and brings a unit up to date. On Linux this is systemd, on macOS launchd, on Windows the service
control manager, where the service has an account of its own and --user is not looked at.`,
		Example: fmt.Sprintf("  sudo %[1]s install --agent-id web-01 --base-url https://stavily.example.com:8443\n  sudo %[1]s install --agent-id web-01 --base-dir /srv/stavily/web-01 --dry-run", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := readConfig(role, cmd.Flags(), func(string) bool { return true }, nil) // the place of services, even before it is there
			if err != nil {
				return err
			}
			a, err := serviceOf(loaded, role, account, replace)
			if err != nil {
				return err
			}
			steps, err := service.Install(a)
			if err != nil {
				return err
			}
			if err := changeHost(cmd, steps, dry); err != nil {
				return err
			}
			next := fmt.Sprintf("start it with: %s start --agent-id %s", role.Program, a.ID)
			if dry {
				next = service.Unit(a)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), next)
			return err
		},
	}
	cmd.Flags().StringVar(&account, "user", account, "account that the agent runs as; made where it is missing (Linux)")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a unit of this agent's name that was not written by install")
	dryRun(cmd, &dry)
	return cmd
}

func dryRun(cmd *cobra.Command, dry *bool) {
	cmd.Flags().BoolVar(dry, "dry-run", false, "print what would be done, and do nothing")
}

// changeHost does the steps, or says them.
func changeHost(cmd *cobra.Command, steps []service.Step, dry bool) error {
	if !dry {
		if err := service.Ready(cmd.Name()); err != nil {
			return err
		}
	}
	return service.Apply(cmd.Context(), steps, dry, cmd.OutOrStdout())
}

// serviceOf is the service of the agent that is configured.
func serviceOf(loaded *config.Loaded, role Role, account string, replace bool) (service.Agent, error) {
	binary, err := os.Executable()
	if err != nil {
		return service.Agent{}, fmt.Errorf("find this program's file: %w", err)
	}
	if binary, err = filepath.EvalSymlinks(binary); err != nil {
		return service.Agent{}, fmt.Errorf("find this program's file: %w", err)
	}
	cfg := &loaded.Config
	file := loaded.File
	if file == "" {
		file = filepath.Join(cfg.Agent.BaseDir, "config", "agent.yaml")
	}
	if file, err = filepath.Abs(file); err != nil {
		return service.Agent{}, fmt.Errorf("find the configuration file: %w", err)
	}
	writable := slices.DeleteFunc(slices.Clone(cfg.Security.Sandbox.Write), func(path string) bool {
		return path == string(filepath.Separator) // no ceiling, which is no wish to open the unit
	})
	if role.Type == api.Sensor { // sensors write nothing
		writable = nil
	}
	return service.Agent{
		Program: role.Program, Type: string(role.Type), ID: string(cfg.Agent.ID), Binary: binary,
		Base: cfg.Agent.BaseDir, Config: file, First: smallestConfig(cfg, role, cfg.Agent.OrganizationID),
		User: account, Write: writable, Replace: replace,
	}, nil
}

func uninstallCommand(role Role) *cobra.Command {
	dry := false
	cmd := &cobra.Command{
		Use:     "uninstall",
		Short:   "Stop the installed agent and take its service away; its files and account stay",
		Example: fmt.Sprintf("  sudo %s uninstall --agent-id web-01", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := installedAgent(cmd, role)
			if err != nil {
				return err
			}
			steps, err := service.Uninstall(a)
			if err != nil {
				return err
			}
			return changeHost(cmd, steps, dry)
		},
	}
	dryRun(cmd, &dry)
	return cmd
}

func controlCommand(role Role, verb, short string, steps func(service.Agent) []service.Step) *cobra.Command {
	return &cobra.Command{
		Use:     verb,
		Short:   short,
		Example: fmt.Sprintf("  sudo %s %s --agent-id web-01", role.Program, verb),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := installedAgent(cmd, role)
			if err != nil {
				return err
			}
			return changeHost(cmd, steps(a), false)
		},
	}
}

func statusCommand(role Role) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Print what the service manager knows of the installed agent; exit code 1 when it does not run",
		Example: fmt.Sprintf("  %s service status --agent-id web-01", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := installedAgent(cmd, role)
			if err != nil {
				return err
			}
			return service.Status(context.WithoutCancel(cmd.Context()), a, cmd.OutOrStdout())
		},
	}
}

// installedAgent is the agent that is meant: named, or the only one of this host. Its
// configuration is not read, which may be what is wrong with it.
func installedAgent(cmd *cobra.Command, role Role) (service.Agent, error) {
	id := os.Getenv("STAVILY_AGENT_ID")
	if f := cmd.Flag("agent-id"); f != nil && f.Changed {
		id = f.Value.String()
	}
	if id == "" {
		ids, err := service.Installed(role.Program)
		if err != nil {
			return service.Agent{}, fmt.Errorf("look for installed agents: %w", err)
		}
		switch len(ids) {
		case 0:
			return service.Agent{}, fmt.Errorf("no %s agent is a service of this host: `%s install` makes one", role.Type, role.Program)
		case 1:
			id = ids[0]
		default:
			return service.Agent{}, fmt.Errorf("%w: --agent-id is needed: this host has %s", errUsage, strings.Join(ids, ", "))
		}
	}
	if err := api.AgentID(id).Validate(); err != nil {
		return service.Agent{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return service.Agent{Program: role.Program, Type: string(role.Type), ID: id}, nil
}
