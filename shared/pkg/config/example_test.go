package config_test

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

func ExampleLoad() {
	flags := pflag.NewFlagSet("sensor-agent", pflag.ContinueOnError)
	config.RegisterFlags(flags)
	if err := flags.Parse([]string{"--agent-id=web-01"}); err != nil {
		fmt.Println(err)
		return
	}
	loaded, err := config.Load(config.LoadOptions{
		Type: api.Sensor, Flags: flags,
		Environ: []string{"STAVILY_API_BASE_URL=https://stavily.example.com:8443", "STAVILY_HEALTH_PRT=8888"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loaded.Config.Agent.ID, "from", loaded.Origin("agent.id"))
	fmt.Println(loaded.Config.API.BaseURL, "from", loaded.Origin("api.base_url"))
	fmt.Println(loaded.Config.API.Timeout, "from", loaded.Origin("api.timeout"))
	fmt.Println(loaded.Warnings[0])
	// Output:
	// web-01 from --agent-id
	// https://stavily.example.com:8443 from STAVILY_API_BASE_URL
	// 30s from default
	// environment variable STAVILY_HEALTH_PRT is read by nothing: did you mean STAVILY_HEALTH_PORT?
}
