package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Every name in the table is a key or a section, or a change would silently need a restart.
func TestRunTimeKeysExist(t *testing.T) {
	c := Default(api.Sensor)
	for _, name := range atRunTime {
		if !slices.ContainsFunc(leaves(&c), func(l leaf) bool {
			return l.key() == name || strings.HasSuffix(name, ".") && strings.HasPrefix(l.key(), name)
		}) {
			t.Errorf("%s is no key", name)
		}
	}
}

func TestFollow(t *testing.T) {
	load := func(text string) *Loaded {
		t.Helper()
		l, err := loadText(t, "agent: {id: a, base_dir: /b}\napi: {base_url: 'https://h'}\n"+text)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	running := &load("plugins: {timeout: 1m}\nhealth: {port: 1}\n").Config
	next, changes, err := load("plugins: {timeout: 2m, python: {index_url: 'https://u:hunter2@h/simple'}}\nhealth: {port: 2}\nlogging: {level: debug}\n").Follow(running)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprint(c, " ", c.Restart))
	}
	want := []string{
		`logging.level: "info" → "debug" (a.yaml:5:18) false`,
		`plugins.timeout: "1m" → "2m" (a.yaml:3:20) false`,
		`plugins.python.index_url: "" → "[redacted]" (a.yaml:3:44) true`,
		`health.port: 1 → 2 (a.yaml:4:16) true`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if next.Health.Port != 1 || next.Plugins.Timeout.String() != "2m" || next.Logging.Level != "debug" {
		t.Errorf("port %d, timeout %v, level %s: want 1 until a restart, and the new ones", next.Health.Port, next.Plugins.Timeout, next.Logging.Level)
	}
	if running.Logging.Level != "info" {
		t.Error("the running configuration was changed")
	}
	// What is valid alone need not be so beside what stays until a restart.
	limited := &load("security: {sandbox: {level: limited, require: limited}}\n").Config
	if _, _, err := load("security: {sandbox: {level: full, require: full}}\n").Follow(limited); err == nil || !strings.Contains(err.Error(), "security.sandbox.level") {
		t.Errorf("Follow = %v, want what does not fit", err)
	}
	if _, changes, err := load("plugins: {sources: []}\n").Follow(&load("").Config); err != nil || len(changes) != 0 {
		t.Errorf("an empty list differs from none: %v, %v", changes, err)
	}
}
