//go:build unix

package sandbox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentIsBuiltFromScratch(t *testing.T) {
	t.Setenv("AGENT_SECRET", "must not be seen")
	t.Setenv("PYTHONSTARTUP", "/agent/own")
	t.Setenv("HOST_PROC", "/host/proc")
	t.Setenv("HOST_SYS", "")
	got, err := Environment{
		Agent: "web-1", Plugin: "cleaner", Instruction: "01J", Home: "/state", Temp: "/scratch",
		Socket: "/run/s", SDK: "/sdk", LogLevel: "debug", Extra: map[string]string{"LEVEL": "3", "LANG": "de_DE.UTF-8", "EMPTY": ""},
	}.List()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"EMPTY=", "HOME=/state", "HOST_PROC=/host/proc", "LANG=de_DE.UTF-8", "LEVEL=3", "MALLOC_ARENA_MAX=2",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=/sdk", "PYTHONUNBUFFERED=1", "PYTHONUTF8=1",
		"STAVILY_AGENT_ID=web-1", "STAVILY_AGENT_SOCKET=/run/s", "STAVILY_INSTRUCTION_ID=01J", "STAVILY_LOG_LEVEL=debug", "STAVILY_PLUGIN_ID=cleaner",
		"TMPDIR=/scratch",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestWhatAnInstructionMayNotSet(t *testing.T) {
	for _, name := range []string{
		"LD_PRELOAD", "ld_preload", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "ENV",
		"PATH", "Path", "IFS", "STAVILY_AGENT_SOCKET", "HOME", "TMPDIR", "BASH_FUNC_ls%%", "GLIBC_TUNABLES", "NODE_OPTIONS", "", "A=B", "A\x00B",
	} {
		env := Environment{Extra: map[string]string{name: "x"}}
		if _, err := env.List(); err == nil {
			t.Errorf("%q was set", name)
		}
	}
	for name, extra := range map[string]map[string]string{
		"a NUL":      {"A": "x\x00y"},
		"a long one": {"A": strings.Repeat("x", maxExtraBytes+1)},
	} {
		if err := CheckExtra(extra); err == nil {
			t.Errorf("%s was taken as a value", name)
		}
	}
	if err := CheckExtra(map[string]string{"LEVEL": "3", "http_proxy": "http://proxy:3128", "LDAP_URL": "ldap://x"}); err != nil {
		t.Errorf("ordinary variables were refused: %v", err)
	}
}
