package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

// mountPrefix and an id make the name of a base directory (R117).
const mountPrefix = "agent-"

// mountedBase is the only base directory in o.Mounts, for a container that is told
// nothing else (F29). Who names an agent, a directory or a file means that one.
func mountedBase(o LoadOptions, env map[string]string, settings []setting) (string, error) {
	if o.Mounts == "" || env[envConfig] != "" {
		return "", nil
	}
	if _, given := flagValue(o.Flags, flagConfig); given {
		return "", nil
	}
	for _, s := range settings {
		if s.key == "agent.id" || s.key == "agent.base_dir" {
			return "", nil
		}
	}
	found, err := filepath.Glob(filepath.Join(o.Mounts, mountPrefix+"*"))
	if err != nil {
		return "", fmt.Errorf("look for a base directory in %s: %w", o.Mounts, err)
	}
	var bases []string
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			bases = append(bases, path)
		}
	}
	switch len(bases) {
	case 0:
		return "", nil
	case 1:
		return bases[0], nil
	}
	return "", fmt.Errorf("there are several base directories in %s (%s): say which with --base-dir or STAVILY_BASE_DIR",
		o.Mounts, strings.Join(bases, ", "))
}

// completeID takes the id from the name of a mounted base directory when nothing else
// tells it.
func (l *Loaded) completeID() {
	if l.Config.Agent.ID != "" || l.mounted == "" {
		return
	}
	l.Config.Agent.ID = api.AgentID(strings.TrimPrefix(filepath.Base(l.mounted), mountPrefix))
	l.origins["agent.id"] = "the name of " + l.mounted
}
