//go:build !linux

package sandbox

import (
	"context"
	"runtime"

	"github.com/stavily/agents/shared/pkg/api"
)

// ProbeOptions bound a self-test.
type ProbeOptions struct {
	Highest     Level       // try nothing above it; empty is the highest that there is
	LandlockABI int         // of Linux
	User        *Credential // of Linux
	Dir         string      // where the test has its files, below the base directory
	Cache       string      // file of an earlier result; empty asks afresh
}

// Probe says what this platform gives: resource limits and the death of the tree, and
// no file or network boundary.
func Probe(_ context.Context, o ProbeOptions) (*Host, error) {
	h := &Host{Level: Limited, Kernel: runtime.GOOS}
	if o.Highest != "" && !o.Highest.AtLeast(Limited) {
		h.Level = o.Highest
	}
	return h, nil
}

// Posture tells what holds a process of the given level on this host.
func (h *Host) Posture(level Level) api.Posture {
	return api.Posture{Level: level, Layers: layers(), Kernel: h.Kernel}
}

// Keep does nothing: what plugins of a killed agent left behind cannot be found here.
func Keep(string) (int, error) { return 0, nil }
