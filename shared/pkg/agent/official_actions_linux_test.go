package agent

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestRestartServiceTellsTheBus(t *testing.T) {
	settings := "config: {units: [a.service, broken.service, forbidden.service], bus: DIR/bus}\n"
	atBothLevels(t, "actions/restart-service", settings, func(t *testing.T, o *official) {
		running := strings.NewReplacer("UP", `{"active": "active", "sub": "running"}`)
		fakeSystemd(t, o.dir, running.Replace(`{"a.service": UP, "broken.service": UP, "forbidden.service": UP}`))
		r := o.run(t, `{"unit": "a.service", "settle_seconds": 0}`)
		o.ended(r, api.Completed, "")
		if got := fields(t, r.Result, "active_state"); got["active_state"] != `"active"` {
			t.Errorf("%s", r.Result)
		}
		o.ended(o.run(t, `{"unit": "broken.service", "settle_seconds": 0}`), api.Failed, "journalctl -u broken.service")
		o.ended(o.run(t, `{"unit": "forbidden.service"}`), api.Failed, "a rule of polkit")
		o.ended(o.run(t, `{"unit": "other.service"}`), api.Failed, "not among the units that this host allows")
		if calls := read(t, filepath.Join(o.dir, "calls")); calls != "restart a.service replace\nrestart broken.service replace\nrestart forbidden.service replace\n" {
			t.Errorf("the bus was told:\n%s", calls)
		}
	})
}
