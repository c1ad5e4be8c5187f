package config

// Audit is the record of what the agent was told, did and refused (docs/audit.md).
type Audit struct {
	Enabled bool   `yaml:"enabled"` // true, or false to keep no record
	File    string `yaml:"file"`    // where the records go; what cannot be recorded there does not happen
}
