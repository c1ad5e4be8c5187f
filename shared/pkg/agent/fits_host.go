package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// fitsHost looks for what an agent needs of this host to start with a configuration, as far
// as that is known without starting it. It makes nothing, and does not ask who asks: whoever
// validates a file need not be the agent's user.
func fitsHost(c *config.Config, tell func(key, text string)) {
	if name := c.Security.Sandbox.User; name != "" {
		if _, err := lookUser(name); err != nil {
			tell("security.sandbox.user", err.Error())
		}
	}
	if c.Agent.BaseDir == "" { // which is a mistake already; other paths follow from it
		return
	}
	if info, err := os.Stat(c.Agent.BaseDir); err == nil && !info.IsDir() {
		tell("agent.base_dir", fmt.Sprintf("%q: is not a directory", c.Agent.BaseDir))
	}
	if c.Logging.Output != "stdout" {
		if err := fitsLog(c); err != nil {
			tell("logging.file", err.Error())
		}
	}
	var wrong []string // in one list: a key is told of once
	for _, entry := range c.Plugins.TrustedKeys {
		if bundle.IsKeyLine(entry) {
			continue // its form was checked, and needs no host
		}
		if _, err := bundle.LoadKeys([]string{entry}); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) > 0 {
		tell("plugins.trusted_keys", strings.Join(wrong, "; ")+": correct the file, or leave it out")
	}
}

// fitsOwnHost is fitsHost on the host that has the agent's base directory. A file may be validated
// elsewhere, as in a pipeline; what is not there says nothing.
func fitsOwnHost(c *config.Config, tell func(key, text string)) {
	if _, err := os.Stat(c.Agent.BaseDir); err == nil {
		fitsHost(c, tell)
	}
}

// fitsLog refuses what cannot become the log.
func fitsLog(c *config.Config) error {
	if err := telemetry.CheckFile(c.Logging.File); err != nil {
		return err
	}
	dir := filepath.Dir(c.Logging.File)
	if below, err := filepath.Rel(c.Agent.BaseDir, dir); err == nil && isInBase(below) {
		return nil // it is made at the start
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: there is no directory %s: make it, or log elsewhere", c.Logging.File, dir)
	}
	return nil
}
