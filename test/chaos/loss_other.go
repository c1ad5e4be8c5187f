//go:build !linux

package main

import (
	"context"
	"errors"
)

func isolate() error { return nil }

func mayLose() bool { return false }

func lose(context.Context, *proxy, bool) error { return errors.New("losing packets needs Linux") }
