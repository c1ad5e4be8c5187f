package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// errTooWeak is the failure of a check: its table has said the rest.
var errTooWeak = errors.New("this host does not give what is required")

func sandboxCommand(role Role, load loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "See how plugins are confined on this host",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	format := ""
	check := &cobra.Command{
		Use:   "check",
		Short: "Test afresh what confines plugins here, and say what is missing, why, and what to change",
		Long: `Starts a probe at each level, from the highest, with the rights of whoever runs this: run it as the
agent's user, in the agent's container or unit. Exit code 1 says that security.sandbox.require is not met.`,
		Example: fmt.Sprintf("  %[1]s sandbox check\n  sudo -u stavily %[1]s sandbox check --config /var/lib/stavily/agent-web-01/config/agent.yaml -o json", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != config.JSON {
				return fmt.Errorf("%w: --output %q: must be table or %s", errUsage, format, config.JSON)
			}
			settings := config.Default(role.Type).Security.Sandbox
			loaded, err := load()
			switch {
			case err == nil:
				settings = loaded.Config.Security.Sandbox
			case cmd.Flag("config").Changed:
				return err
			default: // a host that has no agent yet can be looked at too
				fmt.Fprintln(cmd.ErrOrStderr(), "no configuration is found: this is with the defaults")
			}
			return checkSandbox(cmd, settings, format)
		},
	}
	check.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	cmd.AddCommand(check)
	return cmd
}

func checkSandbox(cmd *cobra.Command, s config.Sandbox, format string) error {
	p, err := lookAtSandbox(cmd.Context(), s)
	if err != nil {
		return err
	}
	return tellCheck(cmd.OutOrStdout(), p, s.Require, format)
}

// lookAtSandbox tests afresh what confines plugins here, and leaves nothing behind.
func lookAtSandbox(ctx context.Context, s config.Sandbox) (*api.Posture, error) {
	dir, err := os.MkdirTemp("", "stavily-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	host, _, err := probeSandbox(ctx, s, dir, "")
	if err != nil {
		return nil, err
	}
	c := confinement{host: host}
	if c.groups, err = cgroup.Open("stavily-check"); err != nil {
		c.ungrouped = err.Error()
	} else {
		defer c.groups.Close()
	}
	p := c.posture(host.Level)
	return &p, nil
}

func tellCheck(out io.Writer, p *api.Posture, required api.SandboxLevel, format string) error {
	met := p.Level.AtLeast(required)
	var err error
	if format == config.JSON {
		err = json.NewEncoder(out).Encode(report{*p, required, met})
	} else {
		err = printPosture(out, p, required)
	}
	if err == nil && !met {
		err = fmt.Errorf("%w: level %s is required and %s is given", errTooWeak, required, p.Level)
	}
	return err
}

// report is the check as JSON.
type report struct {
	api.Posture
	Required api.SandboxLevel `json:"required"`
	Met      bool             `json:"met"`
}

func printPosture(out io.Writer, p *api.Posture, required api.SandboxLevel) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "LEVEL\t%s\t(required: %s)\n", p, required)
	fmt.Fprintf(w, "KERNEL\t%s\tLandlock ABI %d\n", p.Kernel, p.LandlockABI)
	fmt.Fprintf(w, "SELF-TEST\t%d passed\t%d failed\n\nLAYER\tSTATE\n", len(p.SelfTest.Passed), len(p.SelfTest.Failed))
	for _, layer := range slices.Sorted(maps.Keys(p.Layers)) {
		fmt.Fprintf(w, "%s\t%s\n", layer, p.Layers[layer])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, layer := range slices.Sorted(maps.Keys(p.Missing)) {
		fmt.Fprintf(out, "\nmissing: %s\n  why:    %s\n", layer, p.Missing[layer])
		if remedy := sandbox.Remedy(layer, p.Missing[layer]); remedy != "" {
			fmt.Fprintf(out, "  change: %s\n", remedy)
		}
	}
	return nil
}
