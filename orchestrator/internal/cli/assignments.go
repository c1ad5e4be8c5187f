package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// selection are the flags that say which agents are meant.
type selection struct {
	agent, tag string
	all        bool
}

func (s *selection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.agent, "agent", "", "the agent of this `id`")
	f.StringVar(&s.tag, "tag", "", "agents with this `tag`, for example role:web")
	f.BoolVar(&s.all, "all", false, "every agent that runs plugins of this type")
}

// selector is what the flags say: exactly one of them, or none where that is allowed.
func (s *selection) selector(needed bool) (string, error) {
	var given []string
	if s.agent != "" {
		given = append(given, "agent:"+s.agent)
	}
	if s.tag != "" {
		given = append(given, "tag:"+s.tag)
	}
	if s.all {
		given = append(given, "all")
	}
	switch err := api.AgentID(s.agent).Validate(); {
	case s.agent != "" && err != nil:
		return "", usageError{fmt.Errorf("--agent: %w", err)}
	case len(given) > 1, len(given) == 0 && needed:
		return "", usageError{errors.New("exactly one of --agent ID, --tag TAG and --all says which agents are meant")}
	case len(given) == 0:
		return "", nil
	}
	return given[0], nil
}

func pluginsAssign(o *options) *cobra.Command {
	var s selection
	var r operatorapi.AssignRequest
	var settle, deadline time.Duration
	c := &cobra.Command{
		Use:   "assign ID[@RANGE] --agent ID | --tag TAG | --all",
		Short: "Let agents have a plugin, in the highest version of a range",
		Long: `Let agents have a plugin: the highest published version in the range, now and
whenever one is published. Without a range that is every release. Of several
assignments of a plugin an agent's own holds before that of a tag, and that before
--all. The version that is first assigned of a plugin is approved by that. Agents may
be named before they are enrolled; a warning names what no agent has yet.

A new version goes to one agent, then to a tenth of them, then to all, each when
those before have kept it for --settle; it stops when one of them fails, or has not
got it ready by --deadline. See: stavily plugins rollout show ID`,
		Example: `  stavily plugins assign disk-cleaner@^1.2 --tag role:web
  stavily plugins assign disk-cleaner@1.2.3 --agent web-01
  stavily plugins assign disk-cleaner --all --settle 10m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, within, _ := strings.Cut(args[0], "@")
			var err error
			if r.Selector, err = s.selector(true); err != nil {
				return err
			}
			if settle < 0 || deadline < 0 || settle%time.Second != 0 || deadline%time.Second != 0 {
				return usageError{errors.New("--settle and --deadline are whole seconds, for example 90s or 10m")}
			}
			r.Range, r.SettleSeconds, r.DeadlineSeconds = within, int(settle/time.Second), int(deadline/time.Second)
			var a operatorapi.Assigned
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathPlugins, id, "assignments"), nil, r, &a); err != nil {
				return err
			}
			for _, w := range a.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: %s\n", printable(w))
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), a)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is assigned to %s in the range %s, now %s.\n", a.Plugin, a.Selector, a.Range, a.Package.Version)
			return errors.Join(showGrowth(cmd.OutOrStdout(), a.Package), showRollouts(cmd.OutOrStdout(), o, []operatorapi.Rollout{a.Rollout}))
		},
	}
	s.flags(c)
	c.Flags().DurationVar(&settle, "settle", 0, "how long agents must have kept a version before others get it (default 2m)")
	c.Flags().DurationVar(&deadline, "deadline", 0, "by when an agent must have it ready (default 15m)")
	c.Flags().BoolVar(&r.AtOnce, "at-once", false, "give every version to all agents at once")
	return c
}

func pluginsUnassign(o *options) *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:     "unassign ID --agent ID | --tag TAG | --all",
		Short:   "Let agents have a plugin no more: they remove it",
		Example: "  stavily plugins unassign disk-cleaner --tag role:web",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			selector, err := s.selector(true)
			if err != nil {
				return err
			}
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathPlugins, args[0], "assignments"), nil, operatorapi.UnassignRequest{Selector: selector}, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s is not assigned to %s any more.\n", args[0], selector)
			return err
		},
	}
	s.flags(c)
	return c
}

func rolloutCommand(o *options) *cobra.Command {
	return group("rollout", "Watch and steer how a new version reaches agents",
		rolloutShow(o),
		rolloutTell(o, "resume", "Go on after a stop, or begin again what was aborted", `Go on after a stop, or begin again what was aborted. Agents that failed try again.`),
		rolloutTell(o, "abort", "Let agents go back to the version that completed last", `Let agents go back to the version that completed last. The aborted one is not begun
again by itself; a higher version is.`),
		rolloutTell(o, "at-once", "Give the new version to all agents now", `Give the new version to all agents now, without waiting for the stages.`))
}

func rolloutShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ID]",
		Short:   "Show roll-outs: of one plugin with its agents, or of all",
		Example: "  stavily plugins rollout show\n  stavily plugins rollout show disk-cleaner",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if len(args) > 0 {
				query.Set("plugin", args[0])
			}
			var rollouts []operatorapi.Rollout
			if err := o.client().Do(cmd.Context(), http.MethodGet, "/api/v1/rollouts", query, nil, &rollouts); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if err := showRollouts(w, o, rollouts); err != nil || o.structured() || len(args) == 0 {
				return err
			}
			for _, r := range rollouts {
				fmt.Fprintf(w, "\nAgents of %s\n", printable(r.Selector))
				err := show(w, o, r.Agents, "None that runs plugins of this type.", "AGENT|VERSION|STATE|SINCE|MESSAGE", func(a operatorapi.RolloutAgent) []string {
					return []string{string(a.ID), a.Version, agentState(a), ago(a.Since), a.Message}
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func agentState(a operatorapi.RolloutAgent) string {
	if a.State == "" && !a.Online {
		return "offline"
	}
	return a.State
}

func showRollouts(w io.Writer, o *options, rollouts []operatorapi.Rollout) error {
	return show(w, o, rollouts, "Assigned to nobody. Assign it with: stavily plugins assign ID --all",
		"PLUGIN|AGENTS|RANGE|VERSION|NEXT|PHASE|READY|REASON", func(r operatorapi.Rollout) []string {
			ready := 0
			for _, a := range r.Agents {
				if a.State == "ready" {
					ready++
				}
			}
			return []string{string(r.Plugin), r.Selector, r.Range, r.Version, r.Target, strings.TrimSpace(r.Phase + " " + r.Stage), fmt.Sprintf("%d of %d", ready, len(r.Agents)), r.Reason}
		})
}

func rolloutTell(o *options, command, short, long string) *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:     command + " ID [--agent ID | --tag TAG | --all]",
		Short:   short,
		Long:    long + "\nA flag says which assignment is meant where the plugin has several.",
		Example: "  stavily plugins rollout " + command + " disk-cleaner",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			selector, err := s.selector(false)
			if err != nil {
				return err
			}
			var r operatorapi.Rollout
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathPlugins, args[0], "rollout"), nil, operatorapi.RolloutRequest{Selector: selector, Command: command}, &r); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), r)
			}
			return showRollouts(cmd.OutOrStdout(), o, []operatorapi.Rollout{r})
		},
	}
	s.flags(c)
	return c
}
