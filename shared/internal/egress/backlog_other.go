//go:build !linux

package egress

// backlog is for processes that share a network namespace, which only Linux has.
func backlog(listener) bool { return false }
