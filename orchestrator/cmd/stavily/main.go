// Command stavily is everything central in one program: the orchestrator and the
// command line that operates it.
package main

import (
	"context"
	"os"

	"github.com/stavily/agents/orchestrator/internal/cli"
	"github.com/stavily/agents/orchestrator/internal/dev"
)

func main() {
	root := cli.New()
	root.AddCommand(dev.Commands()...)
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
}
