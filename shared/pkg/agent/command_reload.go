package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/config"
)

// reloadCommand has the running agent take its configuration anew.
func reloadCommand(role Role, load loader) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running agent take its changed configuration, whole or not at all",
		Long: `The agent reads its file anew, with the flags and variables that it was started with, and says what changed and
what of that needs a restart. Where the file is not valid nothing changes, and exit code 1 and the condition
"configuration" say why. SIGHUP does the same.`,
		Example: fmt.Sprintf("  %[1]s reload --config /var/lib/stavily/agent-web-01/config/agent.yaml\n  %[1]s reload --base-dir /var/lib/stavily/agent-web-01 --agent-id web-01 --base-url https://stavily.example.com:8443 -o json", role.Program),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != config.JSON {
				return fmt.Errorf("%w: --output %q: must be text or %s", errUsage, format, config.JSON)
			}
			base, err := baseOf(cmd, load)
			if err != nil {
				return err
			}
			var done Reloaded
			if err := newOwner(base, role.Program).tell(cmd.Context(), "/reload", struct{}{}, &done); err != nil {
				return err
			}
			return tellReloaded(cmd.OutOrStdout(), done, format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "text or json")
	return cmd
}

// baseOf finds the agent that a command is for, also where its file is not valid: that
// is when people want to know why.
func baseOf(cmd *cobra.Command, load loader) (string, error) {
	loaded, err := load()
	if err == nil {
		return loaded.Config.Agent.BaseDir, nil
	}
	base, _ := cmd.Flags().GetString("base-dir")
	if file, _ := cmd.Flags().GetString("config"); base == "" && file != "" {
		base = filepath.Dir(filepath.Dir(file)) // as `enroll` writes it: BASE/config/agent.yaml
	}
	if _, missing := os.Stat(filepath.Join(base, controlName)); base != "" && missing == nil {
		return base, nil
	}
	return "", fmt.Errorf("%w\nnothing was asked of the agent: what it runs with stays in force", err)
}

func tellReloaded(out io.Writer, done Reloaded, format string) error {
	if format == config.JSON {
		return json.NewEncoder(out).Encode(done)
	}
	if len(done.Changes) == 0 {
		_, err := fmt.Fprintln(out, "nothing has changed")
		return err
	}
	for _, c := range done.Changes {
		when := "in force"
		if c.Restart {
			when = "needs a restart"
		}
		if _, err := fmt.Fprintf(out, "%-15s  %s\n", when, terminal.Printable(c.String())); err != nil {
			return err
		}
	}
	return nil
}

// logLevelCommand changes how much the running agent logs.
func logLevelCommand(role Role, load loader) *cobra.Command {
	return &cobra.Command{
		Use:     "log-level LEVEL",
		Short:   "Change how much the running agent logs, until its next reload or start",
		Example: "  " + role.Program + " log-level debug --config /var/lib/stavily/agent-web-01/config/agent.yaml",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			base, err := baseOf(cmd, load)
			if err != nil {
				return err
			}
			var done logLevel
			if err := newOwner(base, role.Program).tell(cmd.Context(), "/log-level", logLevel{args[0]}, &done); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "logs at level %s until the next reload or start\n", done.Level)
			return err
		},
	}
}

// logLevel is what `log-level` sends and hears.
type logLevel struct {
	Level string `json:"level"`
}

// controlConfiguration answers at the control socket about the configuration.
func (rt *Runtime) controlConfiguration(mux *http.ServeMux) {
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		done, err := rt.Reload("control socket")
		tell(w, done, err)
	})
	mux.HandleFunc("POST /log-level", func(w http.ResponseWriter, r *http.Request) {
		var asked logLevel
		err := limits.DecodeJSON(http.MaxBytesReader(w, r.Body, maxOrder), maxOrder, &asked)
		if err == nil {
			err = rt.SetLogLevel(asked.Level)
		}
		tell(w, asked, err)
	})
}

// tell has the agent do something that it answers at once.
func (o *owner) tell(ctx context.Context, path string, order, answer any) error {
	resp, err := o.call(ctx, http.MethodPost, path, order)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, maxTold)
	switch {
	case err != nil:
		return errors.Join(errors.New("read the agent's answer"), err)
	case resp.StatusCode != http.StatusOK:
		return refusalIn(text, resp.Status)
	}
	return limits.UnmarshalJSON(text, answer)
}
