package account

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what somebody may do in an organisation. Each includes those before it.
type Role string

// The roles, the least first.
const (
	Nobody   Role = ""         // is not logged in
	Viewer   Role = "viewer"   // sees everything but secrets, users and the audit log
	Operator Role = "operator" // starts, cancels and replays what is set up
	Approver Role = "approver" // also decides on what waits for people
	Admin    Role = "admin"    // also sets things up: workflows, plugins, agents, secrets, users
)

var roles = []Role{Nobody, Viewer, Operator, Approver, Admin}

// Includes reports whether r may do what least may.
func (r Role) Includes(least Role) bool {
	rank := slices.Index(roles, r)
	return rank >= 0 && rank >= slices.Index(roles, least)
}

// Validate reports whether r is a role that a user can have.
func (r Role) Validate() error {
	if r == Nobody || !slices.Contains(roles, r) {
		return fmt.Errorf("role %.40q: must be %s, %s, %s or %s", string(r), Viewer, Operator, Approver, Admin)
	}
	return nil
}

// lesser is the lesser of two roles; one that is not known is none.
func lesser(a, b Role) Role {
	switch {
	case a.Validate() != nil || b.Validate() != nil:
		return Nobody
	case a.Includes(b):
		return b
	}
	return a
}

// AllRoles names the roles that a user can have, for people.
func AllRoles() string {
	names := make([]string, 0, len(roles))
	for _, r := range roles[1:] {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}
