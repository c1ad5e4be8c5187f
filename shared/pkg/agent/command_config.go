package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
)

// imageMounts is where containers have their base directory.
const imageMounts = "/app"

// loader reads the configuration as it is in force for this process.
type loader func() (*config.Loaded, error)

// hostCheck tells what a host has against a configuration, by key.
type hostCheck func(c *config.Config, tell func(key, text string))

// registerConfig gives a command and its subcommands the configuration's flags. What it returns
// makes loaders; with a check, what that tells is a mistake like any other.
func registerConfig(root *cobra.Command, role Role) func(hostCheck) loader {
	flags := root.PersistentFlags()
	config.RegisterFlags(flags)
	return func(host hostCheck) loader {
		return func() (*config.Loaded, error) { return readConfig(role, flags, writable, host) }
	}
}

func readConfig(role Role, flags *pflag.FlagSet, writable func(string) bool, host hostCheck) (*config.Loaded, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for this host's name: %w", err)
	}
	loaded, err := config.Load(config.LoadOptions{
		Type: role.Type, Flags: flags, Environ: os.Environ(), Hostname: hostname, Writable: writable, Mounts: imageMounts, Host: host,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: the configuration is not valid:\n%w", errUsage, err)
	}
	return loaded, nil
}

// writable tries, because permission bits do not tell about read-only mounts.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".stavily-probe-")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}

func configCommand(role Role, load, check loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	format := ""
	show := &cobra.Command{
		Use:     "show",
		Short:   "Print every value in force with its origin; secrets are redacted",
		Example: fmt.Sprintf("  %[1]s config show\n  %[1]s config show -o json", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != config.YAML && format != config.JSON {
				return fmt.Errorf("%w: --output %q: must be %s or %s", errUsage, format, config.YAML, config.JSON)
			}
			loaded, err := load()
			if err != nil {
				return err
			}
			return loaded.Show(cmd.OutOrStdout(), format)
		},
	}
	show.Flags().StringVarP(&format, "output", "o", config.YAML, "yaml or json")
	validate := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file and say every mistake with file, line and column",
		Long: `Says every mistake in a configuration file with its place. On the agent's own host, where its base directory is, also
what the host lacks for it, such as a user or a file of keys: all for which the agent would not start with it, or refuse
to reload it.`,
		Example: fmt.Sprintf("  %s config validate configs/reference.yaml", role.Program),
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmd.Flag("config").Value.Set(args[0]); err != nil {
				return err
			}
			cmd.Flag("config").Changed = true
			loaded, err := check()
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid for %s agent %s\n", args[0], role.Type, loaded.Config.Agent.ID)
			return err
		},
	}
	cmd.AddCommand(show, validate)
	return cmd
}

// noArgs refuses arguments, most of which are subcommands with a slip in them.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: unknown command %q for %q", errUsage, args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%w: did you mean %q?", err, near[0])
	}
	return fmt.Errorf("%w (%s --help lists them)", err, cmd.CommandPath())
}

func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return fmt.Errorf("%w: %w (usage: %s)", errUsage, err, cmd.UseLine())
		}
		return nil
	}
}

func enrollCommand(role Role, load loader) *cobra.Command {
	var e enrollment
	cmd := &cobra.Command{
		Use:   "enroll",
		Short: "Get this agent its certificate with a one-time token",
		Long: `Makes a key on this host, sends a certificate request with a one-time token and stores the certificate under
<base>/certificates. The orchestrator is recognised by its authority's fingerprint. Repeating the command after a
lost answer is safe: the key is kept until the certificate is stored.

"stavily tokens create" on the orchestrator prints this command complete.`,
		Example: fmt.Sprintf("  %s enroll --base-url https://stavily.example.com:8443 --token svt_… --ca-fingerprint sha256:… --agent-id web-01", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if e.token == "" || e.fingerprint == "" {
				return fmt.Errorf("%w: --token and --ca-fingerprint are needed: `stavily tokens create --type %s` prints both", errUsage, role.Type)
			}
			if e.keyType != pki.P384 && e.keyType != pki.RSA4096 {
				return fmt.Errorf("%w: --key-type %q: must be %s or %s", errUsage, e.keyType, pki.P384, pki.RSA4096)
			}
			loaded, err := load()
			if err != nil {
				return err
			}
			// Started by root for an agent that is installed: what is made is that agent's.
			if err := service.BecomeOwner(loaded.Config.Agent.BaseDir); err != nil {
				return err
			}
			return enroll(cmd.Context(), loaded, role, e, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&e.token, "token", "", "one-time enrolment token")
	cmd.Flags().StringVar((*string)(&e.keyType), "key-type", string(pki.P384), fmt.Sprintf("of the key that is made: %s or %s", pki.P384, pki.RSA4096))
	cmd.Flags().StringVar(&e.fingerprint, "ca-fingerprint", "", "fingerprint of the orchestrator's authority, sha256:…")
	return cmd
}

var errUnhealthy = errors.New("unhealthy")

func healthCommand(role Role, load loader) *cobra.Command {
	ready := false
	cmd := &cobra.Command{
		Use:     "health",
		Short:   "Ask the running agent of this configuration how it is; exit code 1 when it is not well",
		Example: fmt.Sprintf("  %[1]s health\n  %[1]s health --ready", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := load()
			if err != nil {
				return err
			}
			if !loaded.Config.Health.Enabled {
				return fmt.Errorf("%w: health.enabled is false for this agent, so that it cannot be asked", errUsage)
			}
			path := loaded.Config.Health.Path
			if ready {
				path = loaded.Config.Health.ReadyPath
			}
			state := filepath.Join(loaded.Config.Agent.BaseDir, stateDir, "health.addr")
			return askHealth(cmd.Context(), state, path, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it can work, not only whether it lives")
	return cmd
}
