//go:build !linux

package main

import (
	"context"
	"errors"
	"time"
)

var errSmallDisks = errors.New("scenario full needs Linux")

func (w *world) smallDisks() error { return errSmallDisks }

func (w *world) unmount() {}

func (w *world) fill(context.Context, string, time.Duration) ([]string, error) {
	return nil, errSmallDisks
}
