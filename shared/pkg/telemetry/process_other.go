//go:build !linux

package telemetry

import "math"

func residentBytes() float64   { return unknown() }
func virtualBytes() float64    { return unknown() }
func openDescriptors() float64 { return unknown() }
func threads() float64         { return unknown() }

func unknown() float64 { return math.NaN() }
