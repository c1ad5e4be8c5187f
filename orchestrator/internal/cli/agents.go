package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

const pathAgents = "/api/v1/agents"

func agentsCommand(o *options) *cobra.Command {
	return group("agents", "List, show, revoke and approve agents", agentsList(o), agentsShow(o), agentsRevoke(o), agentsApprove(o))
}

func agentsList(o *options) *cobra.Command {
	var l *lister
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the enrolled agents",
		Example: "  stavily agents list --watch\n  stavily agents list --status lost\n  stavily agents list -o json | jq -r '.[].id'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			agents, err := readList[operatorapi.Agent](cmd, o, pathAgents, l)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, agents, l.none("No agents. Enrol one with: stavily tokens create --type sensor", "agent"),
				"ID|TYPE|STATUS|HOST|VERSION|SANDBOX|LAST SEEN|MISSING", func(a operatorapi.Agent) []string {
					return []string{string(a.ID), string(a.Type), a.Status, a.Hostname, a.Version, sandboxLevel(a), ago(a.LastSeen), strings.Join(lacks(a), "; ")}
				})
		},
	}
	l = newLister(c, 0)
	l.choice(c, "type", "only `sensor` or action agents", operatorapi.AgentTypes())
	l.choice(c, "status", "only agents that are: online, draining, offline, lost, quarantined or revoked", operatorapi.AgentStatuses())
	l.filter(c, "tag", "only agents that have this `tag`")
	l.filter(c, "plugin", "only agents that have the plugin of this `id`")
	return c
}

func agentsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one agent: certificate, health, plugins, assigned packages, monitors, sandbox",
		Example: "  stavily agents show web-01",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a operatorapi.Agent
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathAgents, args[0]), nil, nil, &a); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), a)
			}
			return showAgent(cmd, o, a)
		},
	}
}

func showAgent(cmd *cobra.Command, o *options, a operatorapi.Agent) error {
	pairs := [][2]string{
		{"Agent", string(a.ID)}, {"Name", a.Name}, {"Type", string(a.Type)}, {"Status", a.Status},
		{"Host", a.Hostname}, {"Version", a.Version}, {"Tags", strings.Join(a.Tags, ", ")},
		{"Enrolled", full(a.EnrolledAt)}, {"Last seen", full(a.LastSeen)}, {"Certificate ends", full(a.CertificateNotAfter)},
		{"Revoked", full(a.RevokedAt)}, {"Reason", a.RevokedReason},
	}
	if q := a.Quarantine; q != nil {
		pairs = append(pairs, [2]string{"Quarantine", "since " + full(q.Since) + ": " + q.Reason},
			[2]string{"Would come with", "certificate " + q.Serial + ", key " + q.KeyHash + ": stavily agents approve " + string(a.ID)})
	}
	if a.Health != nil {
		pairs = append(pairs, [2]string{"Health", a.Health.Status})
		for _, c := range a.Health.Conditions {
			pairs = append(pairs, [2]string{"  " + c.Status, strings.Join([]string{c.Name + ": " + c.Message, c.Remedy}, " ")})
		}
	}
	for _, p := range a.Plugins {
		pairs = append(pairs, [2]string{"Plugin", strings.TrimSpace(fmt.Sprintf("%s %s (%s) %s %s", p.ID, p.Version, p.Type, p.State, p.Message))})
	}
	for _, p := range a.Assigned {
		pairs = append(pairs, [2]string{"Assigned", strings.TrimSpace(fmt.Sprintf("%s %s %s %s", p.ID, p.Version, p.State, p.Message))})
	}
	for _, m := range a.Monitors {
		by := string(m.Plugin)
		if m.Workflow != "" {
			by += ", for workflow " + m.Workflow
		}
		pairs = append(pairs, [2]string{"Monitor", strings.TrimSpace(fmt.Sprintf("%s (%s) %s %s", m.Name, by, m.State, m.Message))})
	}
	for _, g := range a.Gaps {
		pairs = append(pairs, [2]string{"Events lost", fmt.Sprintf("%d (numbers %d to %d): %s, %s", g.Count, g.From, g.To, g.Reason, ago(g.ReceivedAt))})
	}
	if a.MoreGaps {
		pairs = append(pairs, [2]string{"Events lost", "more, which were told before these"})
	}
	if err := facts(cmd.OutOrStdout(), pairs...); err != nil {
		return err
	}
	return showSandbox(cmd.OutOrStdout(), o, a.Sandbox)
}

func agentsRevoke(o *options) *cobra.Command {
	var r operatorapi.RevokeRequest
	c := &cobra.Command{
		Use:   "revoke ID",
		Short: "Refuse an agent from now on",
		Long: `Refuse an agent from now on: its requests in flight end within a second and its
certificate is good for nothing. What it had begun is reported as interrupted when
its lease runs out. To let it in again, enrol it with a token for its id.`,
		Example: "  stavily agents revoke web-01 --reason 'host was reinstalled'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathAgents, args[0], "revoke"), nil, r, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Agent %s is revoked.\n", args[0])
			return err
		},
	}
	c.Flags().StringVar(&r.Reason, "reason", "", "kept with the agent and in the audit log")
	return c
}

func agentsApprove(o *options) *cobra.Command {
	var r operatorapi.ApproveRequest
	c := &cobra.Command{
		Use:   "approve ID",
		Short: "Let an agent in again that is in quarantine",
		Long: `Let an agent in again that renewed its certificate after it had ended, for which the
server was started with --renewal-grace. See on its host first that it is the agent
that asked: its disk may have been somebody else's meanwhile. What it collected waits
there and is sent once it is let in. To refuse it, revoke it.`,
		Example: "  stavily agents show web-01\n  stavily agents approve web-01",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Serial == "" {
				var a operatorapi.Agent
				if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathAgents, args[0]), nil, nil, &a); err != nil {
					return err
				}
				if a.Quarantine == nil {
					return fmt.Errorf("agent %s is not in quarantine: it is %s", a.ID, a.Status)
				}
				r.Serial = a.Quarantine.Serial
			}
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathAgents, args[0], "approve"), nil, r, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Agent %s is let in, with certificate %s.\n", args[0], r.Serial)
			return err
		},
	}
	c.Flags().StringVar(&r.Serial, "serial", "", "approve this `certificate` alone, as agents show names it (default: the one that it would come with)")
	return c
}
