package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// complete fills in what follows from other keys and makes every path absolute.
func (l *Loaded) complete(writable func(string) bool) error {
	c := &l.Config
	if c.Agent.Name == "" {
		c.Agent.Name = string(c.Agent.ID)
		l.derived("agent.name", "agent.id")
	}
	c.API.BaseURL = strings.TrimRight(c.API.BaseURL, "/")
	if err := l.completeBase(writable); err != nil {
		return err
	}
	l.completeCertificates()
	l.completePath("api.auth.token_file", &c.API.Auth.TokenFile, certificateDirs[0], "token.jwt")
	if c.API.Auth.KeyPassphraseFile != "" {
		l.completePath("api.auth.key_passphrase_file", &c.API.Auth.KeyPassphraseFile)
	}
	l.Warnings = append(l.Warnings, c.Security.TLS.warnings()...)
	l.completePath("logging.file", &c.Logging.File, "logs", "agent.log")
	l.completePath("security.audit.file", &c.Security.Audit.File, "logs", "audit", "audit.log")
	l.completePath("plugins.dir", &c.Plugins.Dir, "data", "plugins")
	l.completePath("plugins.config_dir", &c.Plugins.ConfigDir, "config", "plugins")
	for i, key := range c.Plugins.TrustedKeys {
		if key != "" && !bundle.IsKeyLine(key) {
			l.completePath("plugins.trusted_keys", &c.Plugins.TrustedKeys[i])
		}
	}
	return nil
}

func (l *Loaded) derived(key, from string) { l.origins[key] = "from " + from }

// systemBase holds the base directories of agents that were installed for a whole
// machine.
const systemBase = "/var/lib/stavily"

// completeBase chooses the base directory where nobody did (F10).
func (l *Loaded) completeBase(writable func(string) bool) error {
	a := &l.Config.Agent
	if a.BaseDir == "" && l.mounted != "" {
		a.BaseDir = l.mounted
		l.origins["agent.base_dir"] = "the only one in " + filepath.Dir(l.mounted)
	}
	if a.BaseDir == "" {
		if a.ID.Validate() != nil {
			return nil // reported by check; no path is made of it
		}
		a.BaseDir = defaultBase(a.ID, writable)
		l.derived("agent.base_dir", "agent.id")
	}
	abs, err := filepath.Abs(a.BaseDir)
	if err != nil {
		return fmt.Errorf("agent.base_dir: %q: find the working directory: %w", a.BaseDir, err)
	}
	a.BaseDir = abs
	return nil
}

// defaultBase is below systemBase where this agent can write, its own directory
// or a new one, else below the working directory.
func defaultBase(id api.AgentID, writable func(string) bool) string {
	name := "agent-" + string(id)
	system := filepath.Join(systemBase, name)
	if writable != nil && (writable(system) || writable(systemBase)) {
		return system
	}
	return name
}

// completePath gives the path of a key its default below the base directory, which
// is also what a relative one is relative to.
func (l *Loaded) completePath(key string, path *string, byDefault ...string) {
	base := l.Config.Agent.BaseDir
	if *path == "" {
		*path = filepath.Join(byDefault...)
		l.derived(key, "agent.base_dir")
	}
	if !filepath.IsAbs(*path) {
		*path = filepath.Join(base, *path)
	}
}

// certificateDirs are where certificates are looked for below the base directory.
// The first is where they belong; the others are where older instructions put
// them (F23).
var certificateDirs = []string{"certificates", "certs", filepath.Join("config", "certificates")}

func (l *Loaded) completeCertificates() {
	auth := &l.Config.API.Auth
	files := []struct {
		key  string
		path *string
		name string
	}{
		{"api.auth.cert_file", &auth.CertFile, "client.crt"},
		{"api.auth.key_file", &auth.KeyFile, "client.key"},
		{"api.auth.ca_file", &auth.CAFile, "ca.crt"},
	}
	dir := ""
	for _, f := range files {
		if *f.path == "" && dir == "" {
			dir = l.certificateDir(f.name)
		}
		l.completePath(f.key, f.path, dir, f.name)
	}
}

// certificateDir is the first directory that holds the named file, or where it
// belongs.
func (l *Loaded) certificateDir(name string) string {
	base := l.Config.Agent.BaseDir
	for i, dir := range certificateDirs {
		if _, err := os.Stat(filepath.Join(base, dir, name)); err != nil {
			continue
		}
		if i > 0 {
			l.Warnings = append(l.Warnings, fmt.Sprintf("certificates are taken from %s: they belong in %s",
				filepath.Join(base, dir), filepath.Join(base, certificateDirs[0])))
		}
		return dir
	}
	return certificateDirs[0]
}
