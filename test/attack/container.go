//go:build linux

package main

import (
	"context"
	"errors"
)

func noContainers() string { return "no container engine" }

func inContainer(context.Context, spec) error { return errors.New("no container engine") }

func buildForABI(context.Context, string, string, int) error {
	return errors.New("no way to pretend an older Landlock")
}
