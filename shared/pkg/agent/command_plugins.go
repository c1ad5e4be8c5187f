package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// pluginsCommand is how the host's owner sees and changes what the running agent has.
func pluginsCommand(role Role, load loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugins",
		Short: "See and change the plugins of the running agent",
		Long: `Speaks with the running agent of this configuration over the socket control.sock in its base directory, which
obeys the agent's own user and root (on Windows: whoever may write there).`,
		Example: fmt.Sprintf("  %[1]s plugins list\n  %[1]s plugins show disk-cleaner\n  %[1]s plugins install disk-cleaner-1.2.0.tar.gz\n  %[1]s plugins logs -f disk-cleaner", role.Program),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c := &pluginCommands{role: role, load: load}
	cmd.AddCommand(c.list(), c.show(), c.install(),
		c.verb("enable", "Let a disabled plugin run again", "enabled"),
		c.verb("disable", "Keep a plugin from running, over restarts too; what runs of it ends", "disabled"),
		c.verb("remove", "Take an installed plugin out of use; its settings and what it keeps stay", "removed"),
		c.verb("rollback", "Go back to the version that was in use before this one", "rolled back"),
		c.logs())
	return cmd
}

type pluginCommands struct {
	role Role
	load loader
}

// owner is the running agent of the configuration that the command line names.
func (c *pluginCommands) owner() (*owner, error) {
	loaded, err := c.load()
	if err != nil {
		return nil, err
	}
	return newOwner(loaded.Config.Agent.BaseDir, c.role.Program), nil
}

func (c *pluginCommands) example(format string) string {
	return "  " + strings.ReplaceAll(strings.ReplaceAll(format, "%", c.role.Program+" plugins"), "\n", "\n  ")
}

// output gives a command its -o.
func output(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "table", "table or json")
}

func checkOutput(format string) error {
	if format != "table" && format != config.JSON {
		return fmt.Errorf("%w: --output %q: must be table or %s", errUsage, format, config.JSON)
	}
	return nil
}

// print writes an answer as JSON, or has table write it.
func print(out io.Writer, format string, answer any, table func(io.Writer)) error {
	if format == config.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(answer)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func (c *pluginCommands) list() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the plugins, their versions and how they are", Args: noArgs,
		Example: c.example("% list\n% list -o json"),
	}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOutput(*format); err != nil {
			return err
		}
		o, err := c.owner()
		if err != nil {
			return err
		}
		states := []PluginState{}
		if err := o.ask(cmd.Context(), "/plugins", &states); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *format, states, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tVERSION\tTYPE\tSTATE\tFROM\tMESSAGE")
			for _, s := range states {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, terminal.Cell(s.Version), terminal.Cell(s.Type), s.State, terminal.Cell(originLine(s)), terminal.Cell(s.Message))
			}
		})
	}
	return cmd
}

func originLine(s PluginState) string {
	if s.Origin.Kind == "" {
		return "-"
	}
	line := s.Origin.Kind
	if s.Origin.Signer != "" {
		line += ", signed by " + s.Origin.Signer
	}
	return line
}

func (c *pluginCommands) show() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show PLUGIN", Short: "Tell everything about one plugin: versions, digest, origin, permissions, environment", Args: exactArgs(1),
		Example: c.example("% show disk-cleaner\n% show disk-cleaner -o json"),
	}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*format); err != nil {
			return err
		}
		o, err := c.owner()
		if err != nil {
			return err
		}
		var d PluginDetails
		if err := o.ask(cmd.Context(), pathOf(args[0]), &d); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), *format, d, func(w io.Writer) { d.table(w) })
	}
	return cmd
}

func (d *PluginDetails) table(w io.Writer) {
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, terminal.Cell(text))
		}
	}
	each := func(name string, lines []string) {
		for i, line := range lines {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(w, "%s\t%s\n", name, terminal.Cell(line))
		}
	}
	row("ID", string(d.ID))
	row("NAME", d.Name)
	row("DESCRIPTION", d.Description)
	row("VERSION", d.Version)
	row("DIGEST", d.Digest)
	row("TYPE", d.Type)
	state := d.State
	if d.OnTrial && d.State == pluginReady {
		state += ", in its first minute"
	}
	row("STATE", state)
	row("MESSAGE", d.Message)
	row("ORIGIN", strings.TrimSpace(originLine(d.PluginState)+" "+d.Origin.From+" "+d.Origin.Revision))
	row("APPROVED BY", d.Origin.Approved)
	row("EDITED IN", d.Source)
	row("FILES", d.Directory)
	row("ENVIRONMENT", d.Environment)
	each("PACKAGES", d.Packages)
	each("SETTINGS", d.Settings)
	each("ASKS", d.Asks)
	each("GRANTED", d.Granted)
	if len(d.Versions) == 0 {
		return
	}
	fmt.Fprintln(w, "\nVERSION\tADDED\tFROM\tDIGEST\tNOTE")
	for _, v := range d.Versions {
		note := ""
		switch {
		case v.Active:
			note = "in use"
		case v.Rollback:
			note = "rollback goes back to it"
		}
		if v.Failed != "" {
			note = strings.TrimPrefix(note+", failed: "+v.Failed, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.19s\t%s\n", terminal.Cell(v.Version.Version), v.Added.UTC().Format(api.TimeLayout), v.Origin.Kind, v.Digest, terminal.Cell(note))
	}
}

func (c *pluginCommands) install() *cobra.Command {
	var order installOrder
	cmd := &cobra.Command{
		Use: "install PATH", Short: "Install a package file or a directory, and use it once it has shown that it starts", Args: exactArgs(1),
		Long: `A package file must be signed by a key of plugins.trusted_keys; a directory, or a package without a signature,
is installed with --allow-unsigned. Where anything fails the version in use stays in use.`,
		Example: c.example("% install disk-cleaner-1.2.0.tar.gz\n% install ./disk-cleaner --allow-unsigned\n% install disk-cleaner-2.0.0.tar.gz --approve"),
	}
	cmd.Flags().BoolVar(&order.AllowUnsigned, "allow-unsigned", false, "install what nobody signed")
	cmd.Flags().BoolVar(&order.Approve, "approve", false, "approve that it asks for more than the version in use")
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*format); err != nil {
			return err
		}
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		order.Path = path
		return c.run(cmd, *format, "/plugins", order, "installed")
	}
	return cmd
}

func (c *pluginCommands) verb(verb, short, done string) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " PLUGIN", Short: short, Args: exactArgs(1),
		Example: c.example("% " + verb + " disk-cleaner"),
	}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*format); err != nil {
			return err
		}
		return c.run(cmd, *format, pathOf(args[0], verb), nil, done)
	}
	return cmd
}

// run has the agent carry out an order and tells how it ended.
func (c *pluginCommands) run(cmd *cobra.Command, format, path string, body any, verb string) error {
	o, err := c.owner()
	if err != nil {
		return err
	}
	done, err := o.order(cmd.Context(), path, body, func(text string) {
		fmt.Fprintln(cmd.ErrOrStderr(), terminal.Printable(text)+" …")
	})
	if err != nil {
		return err
	}
	return print(cmd.OutOrStdout(), format, done, func(w io.Writer) {
		line := string(done.ID)
		if done.Version != "" {
			line += " " + done.Version
		}
		line += " is " + verb
		switch {
		case done.Unchanged:
			line += " (it was in use already)"
		case done.Before != "":
			line += " (before: " + done.Before + ")"
		}
		fmt.Fprintln(w, terminal.Printable(line))
		if done.Note != "" {
			fmt.Fprintln(w, terminal.Printable(done.Note))
		}
	})
}
