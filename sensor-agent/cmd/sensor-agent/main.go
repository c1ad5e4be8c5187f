// The sensor agent: runs sensor plugins and reports the events they notice.
package main

import (
	"os"

	sensor "github.com/stavily/agents/sensor-agent/internal/agent"
	"github.com/stavily/agents/shared/pkg/agent"
)

func main() { os.Exit(agent.Main(os.Args[1:], sensor.Role())) }
