package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func until(name string, after time.Duration, err error) Component {
	return Component{name, func(ctx context.Context) error {
		if after > 0 {
			time.Sleep(after)
		}
		return err
	}}
}

func obedient(stopped *bool) Component {
	return Component{"obedient", func(ctx context.Context) error {
		<-ctx.Done()
		*stopped = true
		return ctx.Err()
	}}
}

func TestGroupFirstErrorStopsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped bool
		boom := errors.New("boom")
		err := runGroup(t.Context(), []Component{obedient(&stopped), until("bad", time.Second, boom)})
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "bad: ") || !stopped {
			t.Errorf("err = %v, the other stopped: %v; want boom, named, and true", err, stopped)
		}
	})
}

func TestGroupPanicIsAnError(t *testing.T) {
	var stopped bool
	err := runGroup(t.Context(), []Component{obedient(&stopped), {"bad", func(context.Context) error { panic("ouch") }}})
	if err == nil || !strings.Contains(err.Error(), "bad: panic: ouch") || !stopped {
		t.Errorf("err = %v, want the panic", err)
	}
}

func TestGroupEndsWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped bool
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := runGroup(ctx, []Component{obedient(&stopped)}); err != nil || !stopped {
			t.Errorf("err = %v, stopped = %v; want nil, true", err, stopped)
		}
	})
}

func TestGroupGivesUpOnAMemberThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		hang := Component{"hang", func(context.Context) error { <-release; return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := runGroup(ctx, []Component{hang})
		if !errors.Is(err, errDrain) || time.Since(begin) != drainLimit {
			t.Errorf("err = %v after %v, want errDrain after %v", err, time.Since(begin), drainLimit)
		}
	})
}
