package agentapi

import (
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// Agents ask for what the server gives, and poll anew before they count as silent: see
// engine.SilentAfter for the other half.
func TestAgentsAskForTheLongestPoll(t *testing.T) {
	for _, typ := range []api.AgentType{api.Sensor, api.Action} {
		c := config.Default(typ)
		if got := c.PollWait(); got != maxWait {
			t.Errorf("a %s agent asks for %s by default, and gets %s", typ, got, maxWait)
		}
	}
	if maxWait%time.Second != 0 || pingAfter <= 50*time.Second || idleTimeout < 2*maxWait {
		t.Errorf("polls of %s, pings after %s and connections of %s do not go together", maxWait, pingAfter, idleTimeout)
	}
}
