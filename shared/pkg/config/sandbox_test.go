package config

import (
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestCeiling(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       Full,
		"security: {sandbox: {level: confined}}": Confined,
		"security: {sandbox: {level: limited, require: none}}":                  Limited,
		"security: {sandbox: {enabled: false, require: none}}":                  None,
		"security: {sandbox: {enabled: false, require: none, level: confined}}": None,
	} {
		l, err := loadText(t, text, "STAVILY_AGENT_ID=a", "STAVILY_API_BASE_URL=https://h")
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := l.Config.Security.Sandbox.Ceiling(); got != want {
			t.Errorf("%q: Ceiling = %s, want %s", text, got, want)
		}
	}
}

func TestAtLeast(t *testing.T) {
	order := []string{None, Limited, Confined, Full} // from the weakest
	for i, a := range order {
		for j, b := range order {
			if got := AtLeast(a, b); got != (i >= j) {
				t.Errorf("AtLeast(%s, %s) = %v", a, b, got)
			}
		}
	}
}

// Lists in variables replace what the file says.
func TestSandboxFromVariables(t *testing.T) {
	l, err := loadText(t, "security: {sandbox: {read: [/a]}}", "STAVILY_AGENT_ID=a", "STAVILY_API_BASE_URL=https://h",
		"STAVILY_SECURITY_SANDBOX_ENABLED=true", "STAVILY_SECURITY_SANDBOX_READ=/var/log, /srv", "STAVILY_SECURITY_SANDBOX_MAX_CPU=0.5")
	if err != nil {
		t.Fatal(err)
	}
	s := l.Config.Security.Sandbox
	if len(s.Read) != 2 || s.Read[1] != "/srv" || s.MaxCPU != 0.5 || Default(api.Action).Security.Sandbox.MaxCPU != defaultMaxCPU {
		t.Errorf("sandbox is %+v", s)
	}
}
