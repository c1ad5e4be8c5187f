package api_test

import (
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// The order of the levels is what every enforcement of a minimum rests on.
func TestSandboxLevelsAreOrdered(t *testing.T) {
	t.Parallel()
	levels := []api.SandboxLevel{api.SandboxNone, api.SandboxLimited, api.SandboxConfined, api.SandboxFull}
	for have, l := range levels {
		for want, least := range levels {
			if got := l.AtLeast(least); got != (have >= want) {
				t.Errorf("%s.AtLeast(%s) = %v", l, least, got)
			}
		}
	}
	for _, c := range []struct {
		level, least api.SandboxLevel
		want         bool
	}{
		{"full", "", true},
		{"", "", true},
		{"", "none", true},
		{"", "limited", false},
		{"vault", "limited", false}, // of a newer agent
		{"vault", "none", true},
		{"full", "vault", false}, // of a newer orchestrator
		{"vault", "vault", false},
		{"Full", "limited", false},
	} {
		if got := c.level.AtLeast(c.least); got != c.want {
			t.Errorf("%q.AtLeast(%q) = %v, want %v", c.level, c.least, got, c.want)
		}
	}
}

func TestPostureSaysWhatWasAchieved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		posture *api.Posture
		want    string
		full    bool
	}{
		{nil, "unknown", false},
		{&api.Posture{}, "unknown", false},
		{&api.Posture{Level: api.SandboxConfined, Achieved: []string{api.AchievedMemory}}, "confined+memory", false},
		{&api.Posture{Level: api.SandboxFull, Achieved: []string{api.AchievedMemory, api.AchievedEgress}}, "full+memory+egress", true},
	} {
		if got := c.posture.String(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.posture, got, c.want)
		}
		if got := c.posture.Satisfies(api.SandboxFull); got != c.full {
			t.Errorf("%+v satisfies full: %v, want %v", c.posture, got, c.full)
		}
		if !c.posture.Satisfies("") || !c.posture.Satisfies(api.SandboxNone) {
			t.Errorf("%+v does not satisfy what asks for nothing", c.posture)
		}
	}
}
