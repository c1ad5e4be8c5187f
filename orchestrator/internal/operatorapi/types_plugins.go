package operatorapi

import "github.com/stavily/agents/shared/pkg/api"

// Package is one published version of a plugin.
type Package struct {
	ID          api.PluginID `json:"id"`
	Version     string       `json:"version"`
	Type        string       `json:"type"` // sensor | action | output
	Digest      string       `json:"digest"`
	TreeDigest  string       `json:"tree_digest"` // of the plugin's directory, as agents report it
	Size        int64        `json:"size"`
	Signed      bool         `json:"signed"`
	Signer      string       `json:"signer,omitempty"` // the trusted key; empty where none is trusted
	PublishedAt api.Time     `json:"published_at"`
	ApprovedAt  api.Time     `json:"approved_at"`
	ApprovedBy  string       `json:"approved_by,omitempty"`
}

// PackageDetail is a package with what it asks to reach.
type PackageDetail struct {
	Package
	Asks    []string `json:"asks"`
	Grown   []string `json:"grown"`             // of these, what needs approval
	Against string   `json:"against,omitempty"` // the approved version that it was compared with
}

// Published is what became of a package that was uploaded.
type Published struct {
	PackageDetail
	Changed  bool      `json:"changed"` // false: it was published before
	Rollouts []Rollout `json:"rollouts"`
}

// Plugin is all that is published of one plugin, and whom it is assigned to.
type Plugin struct {
	ID       api.PluginID    `json:"id"`
	Type     string          `json:"type"`
	Versions []PackageDetail `json:"versions"` // the one that was published last first
	Rollouts []Rollout       `json:"rollouts"`
}

// Rollout is an assignment of a plugin, and how far its agents are.
type Rollout struct {
	Plugin          api.PluginID `json:"plugin"`
	Selector        string       `json:"selector"` // all, tag:… or agent:…
	Range           string       `json:"range"`
	AssignedAt      api.Time     `json:"assigned_at"`
	SettleSeconds   int          `json:"settle_seconds"`
	DeadlineSeconds int          `json:"deadline_seconds"`
	AtOnce          bool         `json:"at_once"`

	Phase   string   `json:"phase"`             // idle | waiting | rolling | stopped
	Stage   string   `json:"stage,omitempty"`   // one | tenth | all
	Version string   `json:"version,omitempty"` // what completed last
	Target  string   `json:"target,omitempty"`  // what is rolled out
	Skipped string   `json:"skipped,omitempty"` // what was aborted
	Reason  string   `json:"reason,omitempty"`  // why it waits or stopped, and what to do
	Since   api.Time `json:"since"`             // of the stage

	Agents []RolloutAgent `json:"agents"`
}

// RolloutAgent is one agent of an assignment.
type RolloutAgent struct {
	ID      api.AgentID `json:"id"`
	Online  bool        `json:"online"`
	Version string      `json:"version,omitempty"` // that it is to have
	State   string      `json:"state,omitempty"`   // that it reports of that; empty: it has said nothing
	Message string      `json:"message,omitempty"`
	Since   api.Time    `json:"since"`
}

// AssignRequest says which agents are to have a plugin, and in which versions.
type AssignRequest struct {
	Selector        string `json:"selector"`        // all, tag:… or agent:…
	Range           string `json:"range,omitempty"` // "": every release
	SettleSeconds   int    `json:"settle_seconds,omitempty"`
	DeadlineSeconds int    `json:"deadline_seconds,omitempty"`
	AtOnce          bool   `json:"at_once,omitempty"` // without stages
}

// Assigned is an assignment with the version that it means now.
type Assigned struct {
	Rollout
	Package PackageDetail `json:"package"`
	// Warnings are sentences about agents that are named and not there.
	Warnings []string `json:"warnings,omitempty"`
}

// UnassignRequest names the assignment that ends.
type UnassignRequest struct {
	Selector string `json:"selector"`
}

// RolloutRequest tells a roll-out what to do.
type RolloutRequest struct {
	Selector string `json:"selector,omitempty"` // "": the only one of the plugin
	Command  string `json:"command"`            // resume | abort | at-once
}

// TrustRequest has keys as lines of authorized_keys.
type TrustRequest struct {
	Keys string `json:"keys"`
}

// DistrustRequest names a key.
type DistrustRequest struct {
	Fingerprint string `json:"fingerprint"`
}

// Publisher is a key whose packages are taken.
type Publisher struct {
	Fingerprint string   `json:"fingerprint"`
	Key         string   `json:"key"` // a line of authorized_keys
	TrustedAt   api.Time `json:"trusted_at"`
}
