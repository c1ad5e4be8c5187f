//go:build !linux

package main

import "os/exec"

// aside starts a process like any other: it takes its share of the processors.
func aside(cmd *exec.Cmd) error { return cmd.Start() }

// granted is how much of the processor time that this process asked for it got, in per cent. Only
// Linux tells.
func granted() float64 { return 100 }
