package store

import (
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/shared/pkg/api"
)

// Package is one published version of a plugin. Only what is about its approval ever
// changes.
type Package struct {
	ID         api.PluginID
	Version    string
	Kind       string // of plugin.Kind
	Digest     string // of the package file
	TreeDigest string // of the plugin's directory
	Size       int64
	Manifest   string // the text of plugin.yaml
	Signer     string // fingerprint and comment of the trusted key; "": not checked
	Signature  string // SSH signature in base64 without armour; "": unsigned

	PublishedAt time.Time
	ApprovedAt  time.Time // when everything that it asks for was approved; zero: it was not
	ApprovedBy  string
}

// Assignment says which agents are to have a plugin, and where the roll-out stands. Its
// key is the plugin with the selector.
type Assignment struct {
	Plugin     api.PluginID
	Selector   Selector
	Kind       string // of the plugin, when it was assigned; it never changes
	Range      string // a constraint of semantic versions
	Plan       rollout.Plan
	AssignedAt time.Time
	State      rollout.State
}

// Selector names the agents of an assignment: "all", "tag:" and a tag, or "agent:" and an
// id. Of several assignments of one plugin the closest holds for an agent.
type Selector string

// All is the selector of every agent.
const All Selector = "all"

const (
	selectTag   = "tag:"
	selectAgent = "agent:"
)

// OfAgent and OfTag make selectors.
func OfAgent(id api.AgentID) Selector { return Selector(selectAgent + string(id)) }

// OfTag selects the agents that have the tag.
func OfTag(tag string) Selector { return Selector(selectTag + tag) }

// Selects reports whether the selector names the agent, whatever others do.
func (s Selector) Selects(a Agent) bool {
	if s == All || s == OfAgent(a.ID) {
		return true
	}
	for _, tag := range a.Tags {
		if s == OfTag(tag) {
			return true
		}
	}
	return false
}

// Closeness orders selectors: an agent's own goes before a tag's, that before all.
func (s Selector) Closeness() int {
	switch {
	case strings.HasPrefix(string(s), selectAgent):
		return 2
	case strings.HasPrefix(string(s), selectTag):
		return 1
	}
	return 0
}

// Publisher is a key whose packages an organisation takes.
type Publisher struct {
	Fingerprint string
	Line        string // of authorized_keys
	TrustedAt   time.Time
}

// PackageState is what an agent told of an assigned package, and since when.
type PackageState struct {
	api.AssignedState
	Since time.Time
}
