package config

import "time"

// Integrity says whether the agent looks for changes of the files that it runs.
type Integrity struct {
	Enabled  bool     `yaml:"enabled"`  // whether the agent's program and the plugin versions in use are compared with what they were
	Interval Duration `yaml:"interval"` // between two comparisons, at least 1m
}

const (
	// Each comparison reads the program and the plugins, some 20 MB.
	defaultIntegrityInterval = 10 * time.Minute
	minIntegrityInterval     = time.Minute
)

func (i *Integrity) check(ps *problems) {
	ps.require(i.Interval >= Duration(minIntegrityInterval), "security.integrity.interval", i.Interval, "at least %v", Duration(minIntegrityInterval))
}
