package operatorapi

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// stored is a store of which only the newest records are asked for.
type stored struct {
	store.Reader
	audit  []store.Audit
	events []store.Event
}

func (s stored) AuditBefore(int64, int) ([]store.Audit, error)    { return s.audit, nil }
func (s stored) Events(q store.EventQuery) ([]store.Event, error) { return s.events, nil }

// TestDoctorJudges holds at what the doctor warns, and that it then says what to do.
func TestDoctorJudges(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	clock := func(newest time.Time) Check {
		c, err := checkClock(stored{audit: []store.Audit{{At: now.Add(-time.Hour)}}, events: []store.Event{{ReceivedAt: newest}}}, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	seen := func(ago time.Duration, change func(*store.Agent)) []store.Agent {
		a := store.Agent{ID: "web-01", State: store.Active, Status: engine.StatusOnline, LastSeen: now.Add(-ago), NotAfter: now.Add(60 * day)}
		if change != nil {
			change(&a)
		}
		return []store.Agent{a}
	}
	ends := func(in time.Duration) []store.Agent {
		return seen(0, func(a *store.Agent) { a.NotAfter = now.Add(in) })
	}
	ill := seen(0, func(a *store.Agent) {
		a.Health = &api.Health{Status: "degraded", Conditions: []api.Condition{{Name: "spool", Message: "is full"}}}
	})
	for what, c := range map[string]struct {
		check        Check
		status, says string
	}{
		"a new CA":                {checkCA(now.Add(3650*day), now), CheckOK, "good until"},
		"a CA that ends":          {checkCA(now.Add(100*day), now), CheckWarning, "in 100 days"},
		"much space":              {judgeDisk(100<<30, 200<<30), CheckOK, "100.0 GiB of 200.0 GiB free"},
		"little space":            {judgeDisk(1<<30, 10<<30), CheckWarning, "1.0 GiB"},
		"a small part":            {judgeDisk(40<<30, 1000<<30), CheckWarning, "40.0 GiB"},
		"no space":                {judgeDisk(100<<20, 10<<30), CheckFailed, "100.0 MiB"},
		"a clock":                 {clock(now.Add(-time.Minute)), CheckOK, ""},
		"a clock that went back":  {clock(now.Add(time.Hour)), CheckFailed, "1h0m0s ahead"},
		"a quick database":        {checkDatabase(t.TempDir(), time.Millisecond), CheckOK, "1ms"},
		"a slow database":         {checkDatabase(t.TempDir(), 2*time.Second), CheckWarning, "2s"},
		"no agents":               {checkAgents(nil), CheckWarning, "none is enrolled"},
		"an agent":                {checkAgents(seen(time.Second, nil)), CheckOK, "1 are here"},
		"a lost agent":            {checkAgents(seen(time.Hour, nil)), CheckWarning, "lost: web-01 since"},
		"a revoked agent":         {checkAgents(seen(time.Hour, func(a *store.Agent) { a.State = store.Revoked })), CheckOK, "0 are here"},
		"a certificate":           {checkAgentCertificates(ends(60*day), now, 90*day), CheckOK, ""},
		"a late certificate":      {checkAgentCertificates(ends(10*day), now, 90*day), CheckWarning, "web-01 until"},
		"a certificate of before": {checkAgentCertificates(ends(-day), now, 90*day), CheckWarning, "web-01 until"},
		"a healthy agent":         {checkHealth(seen(0, nil)), CheckOK, ""},
		"an ill agent":            {checkHealth(ill), CheckWarning, "web-01: spool: is full"},
	} {
		if c.check.Status != c.status || !strings.Contains(c.check.Message, c.says) || (c.check.Remedy == "") != (c.status == CheckOK) {
			t.Errorf("%s: %+v, want %s with %q, and what to do unless it is ok", what, c.check, c.status, c.says)
		}
	}
	if got := named([]string{"a", "b", "c", "d", "e"}); got != "a, b, c and 2 more" {
		t.Errorf("five things are named %q", got)
	}
}
