package dev

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Commands returns `stavily dev` and `stavily demo`.
func Commands() []*cobra.Command {
	dev := &cobra.Command{
		Use:   "dev",
		Short: "Run a server and one agent of each kind in a throw-away directory",
		Long: `Starts the server and one agent of each kind as real processes over mutual TLS, applies a workflow, prints
the addresses and then every event as it comes. Ctrl-C stops everything and removes the directory.`,
		Example: "  stavily dev",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	var crash string
	demo := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job once, for real, and check it",
		Long: `Fills a real directory past its limit: the sensor notices, the workflow runs, the action cleans up, the
webhook arrives, the sensor reports recovery. Exits 0 when every check of the table at the end holds, else 1.`,
		Example: "  stavily demo\n  stavily demo --crash agent    # SIGKILL the action agent in the middle of its clean-up\n  stavily demo --crash server   # SIGKILL the server between event and action",
		Args: func(cmd *cobra.Command, args []string) error { // mistakes here are wrong usage
			switch crash {
			case CrashNothing, CrashAgent, CrashServer:
				return cobra.NoArgs(cmd, args)
			}
			return fmt.Errorf("--crash %q: must be %q or %q", crash, CrashAgent, CrashServer)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Demo(cmd.Context(), cmd.OutOrStdout(), crash)
		},
	}
	demo.Flags().StringVar(&crash, "crash", CrashNothing, "what to kill on the way: agent or server")
	return []*cobra.Command{dev, demo}
}
