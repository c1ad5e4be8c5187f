package agent

import (
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// Plugins that each keep to their limit and together need more than there is are told (F25).
func TestMemoryTogetherIsWeighed(t *testing.T) {
	for _, c := range []struct {
		typ      api.AgentType
		monitors int
		limit    int64
		warns    bool
	}{
		{api.Action, 0, 512 << 20, true}, // 4 × 256 MB
		{api.Action, 0, 2 << 30, false},
		{api.Action, 0, 0, false}, // no limit
		{api.Sensor, 1, 512 << 20, false},
		{api.Sensor, 3, 512 << 20, true},
	} {
		rt, log := testRuntime(t, c.typ)
		p := &Plugins{rt: rt}
		for range c.monitors {
			p.settings = append(p.settings, config.PluginFile{Enabled: true})
		}
		p.weighMemory(c.limit)
		if warned := strings.Contains(log.String(), "plugins may together take more memory"); warned != c.warns {
			t.Errorf("%+v: warned: %v", c, warned)
		}
	}
}
