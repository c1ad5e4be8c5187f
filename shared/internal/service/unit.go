package service

import (
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/deployments"
)

// StopLimit is how long the units give an agent to end (TimeoutStopSec=, ExitTimeOut).
const StopLimit = 75 * time.Second

// unit is the agent's systemd unit, for a user of that group.
func unit(a Agent, group string) string {
	write := []string{quote(a.Base)}
	for _, path := range a.Write {
		if path != a.Base && !slices.Contains(write, "-"+quote(path)) {
			write = append(write, "-"+quote(path)) // '-': it may be missing
		}
	}
	return strings.NewReplacer(
		"@PROGRAM@", a.Program, "@TYPE@", a.Type, "@ID@", a.ID, "@UNIT@", a.Name()+".service",
		"@USER@", a.User, "@GROUP@", group,
		"@BINARY@", quote(a.Binary), "--config=@CONFIG@", quote("--config="+a.Config),
		"@BASE@", quote(a.Base), "@WRITE@", strings.Join(write, " "),
	).Replace(deployments.AgentUnit)
}

// percent hides the specifiers of systemd.unit(5).
func percent(path string) string { return strings.ReplaceAll(path, "%", "%%") }

// quote is for the values that are lists. [Agent.check] has refused what it cannot hold.
func quote(path string) string {
	if path = percent(path); strings.Contains(path, " ") {
		return `"` + path + `"`
	}
	return path
}

// label is the name of the agent's launchd job.
func label(a Agent) string { return "com.stavily." + a.Name() }

// propertyList is the agent's launchd job.
func propertyList(a Agent) string {
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return strings.NewReplacer(
		"@LABEL@", label(a), "@BINARY@", text.Replace(a.Binary), "@CONFIG@", text.Replace(a.Config),
		"@BASE@", text.Replace(a.Base), "@USER@", a.User,
	).Replace(deployments.AgentPropertyList)
}
