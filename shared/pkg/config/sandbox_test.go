package config

import (
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestCeiling(t *testing.T) {
	for text, want := range map[string]api.SandboxLevel{
		"":                                       api.SandboxFull,
		"security: {sandbox: {level: confined}}": api.SandboxConfined,
		"security: {sandbox: {level: limited, require: none}}":                  api.SandboxLimited,
		"security: {sandbox: {enabled: false, require: none}}":                  api.SandboxNone,
		"security: {sandbox: {enabled: false, require: none, level: confined}}": api.SandboxNone,
	} {
		l, err := loadText(t, text, "STAVILY_AGENT_ID=a", "STAVILY_API_BASE_URL=https://h")
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := l.Config.Security.Sandbox.Ceiling(); got != want {
			t.Errorf("%q: Ceiling = %s, want %s", text, got, want)
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
