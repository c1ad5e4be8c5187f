// The action agent: takes instructions and runs action and output plugins.
package main

import (
	"os"

	action "github.com/stavily/agents/action-agent/internal/agent"
	"github.com/stavily/agents/shared/pkg/agent"
)

func main() { os.Exit(agent.Main(os.Args[1:], action.Role())) }
