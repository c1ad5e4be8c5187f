// Command stavily is everything central in one program: the orchestrator, the command
// line that operates it, and the kit for who writes plugins.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/kit"
	"github.com/stavily/agents/orchestrator/internal/cli"
	"github.com/stavily/agents/orchestrator/internal/dev"
)

func main() {
	kit.Reenter() // returns unless this process was started to confine a plugin
	os.Exit(cli.Execute(context.Background(), commands(), os.Args[1:]))
}

func commands() *cobra.Command {
	root := cli.New()
	root.AddCommand(dev.Commands()...)
	root.AddCommand(kit.Commands()...)
	return root
}
