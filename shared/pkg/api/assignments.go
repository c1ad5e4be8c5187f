package api

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Limits of packages, the same on both sides.
const (
	MaxPackageBytes = 64 << 20 // one package file
	MaxAssigned     = 64       // packages assigned to one agent
)

// Headers of a package, besides those of HTTP.
const (
	// HeaderDigest is the digest of the package file, as AssignedPlugin.Digest has it.
	HeaderDigest = "Stavily-Digest"
	// HeaderSignature is the signature over the package's index: the base64 of an SSH
	// signature without its armour, in one line. A package without one has none.
	HeaderSignature = "Stavily-Signature"
)

// AssignedPlugin is one package that an agent is to have. It is what the orchestrator
// wants; whether the agent takes it, the agent's own policy decides.
type AssignedPlugin struct {
	ID         PluginID `json:"id"`
	Version    string   `json:"version"`     // as in the manifest
	Type       string   `json:"type"`        // sensor | action | output
	Digest     string   `json:"digest"`      // of the package file: "sha256:" and 64 hex digits
	TreeDigest string   `json:"tree_digest"` // of the installed directory, which PluginInfo tells
	Size       int64    `json:"size"`        // bytes of the package file
	Signer     string   `json:"signer,omitempty"`
	// Approved says that an operator has approved everything that this version asks
	// for, here or when an earlier version asked for as much.
	Approved bool `json:"approved,omitempty"`
	// Attempt grows when the same package is to be tried again, after an agent gave it up.
	Attempt int `json:"attempt,omitempty"`
}

// Assignments is the whole set of packages that an agent is to have. What was assigned
// and is not in it any more is to be removed. Version changes with the set and means
// nothing else.
type Assignments struct {
	Version string           `json:"version"`
	Plugins []AssignedPlugin `json:"plugins"`
	// ToldByPolls says that a poll for instructions which names this version is answered as
	// soon as it is another: the call for assignments need not be held as well.
	ToldByPolls bool `json:"told_by_polls,omitempty"`
	// MonitorsVersion is the version of the monitors that the agent is to run as well; empty:
	// there are none.
	MonitorsVersion string `json:"monitors_version,omitempty"`
}

// PackageState is where one assigned package stands on an agent.
type PackageState string

// The states of an assigned package. After the last three an agent does not try the
// same attempt again.
const (
	PackageInstalling PackageState = "installing"  // is fetched, checked or loaded, or will be tried again
	PackageReady      PackageState = "ready"       // is what runs
	PackageWaiting    PackageState = "waiting"     // asks for more than the version before, and nobody has approved that
	PackageRefused    PackageState = "refused"     // the agent's policy, its trusted keys or a check say no
	PackageFailed     PackageState = "failed"      // did not install or load; the version before runs on
	PackageRolledBack PackageState = "rolled_back" // ran and failed; the version before runs again
)

// AssignedState tells in a heartbeat how far an agent is with one assigned package.
type AssignedState struct {
	ID      PluginID     `json:"id"`
	Version string       `json:"version"`
	Digest  string       `json:"digest"`            // of the package file, as it was assigned
	Attempt int          `json:"attempt,omitempty"` // as it was assigned
	State   PackageState `json:"state"`
	Message string       `json:"message,omitempty"` // why, and what to do
}

// versionPattern accepts every semantic version (https://semver.org) and what manifests
// write for one. It needs no escaping in a path.
var versionPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$`)

// ValidateVersion reports whether a plugin's version is safe in a path, a file name and
// a log line. Whether it is a semantic version is for its manifest to show.
func ValidateVersion(version string) error {
	if versionPattern.MatchString(version) {
		return nil
	}
	return fmt.Errorf("plugin version %q: must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '+', '-', beginning with a letter or digit", clip(version))
}

// ValidateDigest reports whether s is "sha256:" and 64 hex digits in lower case.
func ValidateDigest(s string) error {
	digits, found := strings.CutPrefix(s, "sha256:")
	if b, err := hex.DecodeString(digits); !found || err != nil || len(b) != 32 || digits != strings.ToLower(digits) {
		return fmt.Errorf("digest %q: must be \"sha256:\" and 64 hex digits", clip(s))
	}
	return nil
}

// Validate reports whether everything that names a file or bounds a transfer is sound.
func (p AssignedPlugin) Validate() error {
	if p.Size < 1 || p.Size > MaxPackageBytes {
		return fmt.Errorf("package %.80s %.80s: %d bytes, must be 1 to %d", p.ID, p.Version, p.Size, MaxPackageBytes)
	}
	return errors.Join(p.ID.Validate(), ValidateVersion(p.Version), ValidateDigest(p.Digest), ValidateDigest(p.TreeDigest))
}

func checkAssignments(a Assignments) error {
	if a.Version == "" {
		return errors.New("version is missing")
	}
	if len(a.Plugins) > MaxAssigned {
		return fmt.Errorf("%d plugins, more than %d", len(a.Plugins), MaxAssigned)
	}
	seen := map[PluginID]bool{}
	for _, p := range a.Plugins {
		if err := p.Validate(); err != nil {
			return err
		}
		if seen[p.ID] {
			return fmt.Errorf("plugin %s is assigned twice", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}
