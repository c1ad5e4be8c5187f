package agent

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/api"
)

func agentStatusCommand(role Role, load loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running agent of this configuration knows of itself",
		Long: "Show what the running agent of this configuration knows of itself: what is wrong, since when and what to do about it;\n" +
			"loops, sandbox, what waits, monitors, plugins. Exit code 1 when it does not answer or is failing.",
		Example: fmt.Sprintf("  %[1]s status\n  %[1]s status -o json", role.Program),
		Args:    noArgs,
	}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*format); err != nil {
			return err
		}
		loaded, err := load()
		if err != nil {
			return err
		}
		if !loaded.Config.Health.Enabled {
			return fmt.Errorf("%w: health.enabled is false for this agent, so that it cannot be asked", errUsage)
		}
		var body bytes.Buffer
		state := filepath.Join(loaded.Config.Agent.BaseDir, stateDir, "health.addr")
		if err := askHealth(cmd.Context(), state, loaded.Config.Health.StatusPath, &body); err != nil {
			return err
		}
		var s Status
		if err := limits.UnmarshalJSON(body.Bytes(), &s); err != nil {
			return fmt.Errorf("read the status: %w", err)
		}
		if err := print(cmd.OutOrStdout(), *format, s, s.table); err != nil {
			return err
		}
		if s.Health.Status == string(Failing) {
			return fmt.Errorf("%w: a loop makes no progress", errUnhealthy)
		}
		return nil
	}
	return cmd
}

// unbalanced is what to say of counts that do not balance.
func unbalanced(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (these counts do not balance by %d: report this)", n)
}

// table writes the status for people. What plugins and the network said is shown, not obeyed.
func (s Status) table(out io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%s\t%s\n", name, terminal.Cell(fmt.Sprintf(format, args...)))
	}
	line("agent", "%s (%s, %s, %s)", s.AgentID, s.Type, s.Version, s.Platform)
	line("up", "since %s", s.StartedAt.Format(time.RFC3339))
	ready := "ready"
	if !s.Ready {
		ready = "not ready: " + strings.Join(s.Against, ", ")
	}
	line("health", "%s, %s", s.Health.Status, ready)
	line("orchestrator", "%s, %s%s", s.Orchestrator.URL, s.Orchestrator.Contact, since(", answered ", s.Orchestrator.AnsweredAt))
	if s.Certificate != nil {
		line("certificate", "until %s", s.Certificate.NotAfter.Format(time.RFC3339))
	}
	if s.Sandbox != nil {
		line("sandbox", "%s", s.Sandbox)
	}
	if s.Spool != nil {
		line("spool", "%d events, %d bytes%s", s.Spool.Events, s.Spool.Bytes, since(", oldest ", s.Spool.Oldest))
		a := s.Spool.Account
		line("events", "%d taken: %d delivered, %d rejected, %d refused, %d corrupt, %d unseen, %d wait%s", a.Taken, a.Delivered, a.Rejected, a.Refused, a.Corrupt, a.Unseen, a.Waiting, unbalanced(s.Spool.Unaccounted))
	}
	if s.Results != nil {
		line("results", "%d wait", *s.Results)
	}
	if r := s.Reported; r != nil {
		line("", "since its start %d found, %d ended, %d reported%s", r.Inherited, r.Ended, r.Reported, unbalanced(r.Unaccounted))
	}
	for _, c := range s.Health.Conditions {
		line("! "+c.Name, "%s since %s: %s; %s", c.Status, c.Since.Format(time.RFC3339), c.Message, c.Remedy)
	}
	for _, l := range s.Loops {
		stuck := ""
		if l.Stuck {
			stuck = ", stuck"
		}
		line("loop "+l.Name, "moved %s%s", l.Last.Format(time.RFC3339), stuck)
	}
	for _, m := range s.Monitors {
		line("monitor "+m.Name, "%s %s %s", m.Plugin, m.State, m.Message)
	}
	for _, p := range s.Plugins {
		line("plugin "+string(p.ID), "%s %s %s", p.Version, p.State, p.Message)
	}
}

func since(words string, t api.Time) string {
	if t.IsZero() {
		return ""
	}
	return words + t.Format(time.RFC3339)
}
