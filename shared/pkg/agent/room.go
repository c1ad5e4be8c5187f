package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/shared/pkg/api"
)

// conditionDisk holds while the disk has less room than is kept for what must not fail.
const conditionDisk = "disk"

const (
	// keptRoom is what new work leaves free of the disk: results, certificates and the
	// journal of what runs need it. Of a small disk it is a share.
	keptRoom  = 64 << 20
	keptShare = 16

	// roomAgain is how soon a full disk is looked at again.
	roomAgain = time.Second
)

// kept is what is kept of a disk of that size.
func kept(total int64) int64 { return min(keptRoom, total/keptShare) }

// Room says why no new work may be taken: the rest of the disk is for the results of what
// runs, for certificates and for critical events. A disk of which nothing can be told has room.
func (rt *Runtime) Room() error {
	dir := rt.Config().Agent.BaseDir
	free, total, err := diskspace.Of(dir)
	if kept := kept(total); err == nil && free < kept {
		return fmt.Errorf("the disk of %s has %d bytes left, and %d are kept for results and certificates", dir, free, kept)
	}
	return nil
}

// AwaitRoom returns when new work may be taken. The error is that of ctx.
func (rt *Runtime) AwaitRoom(ctx context.Context) error {
	err := rt.Room()
	if err == nil {
		return nil
	}
	rt.Log.Warn("nothing new is begun", "reason", err.Error())
	rt.BeatSoon()
	for rt.Room() != nil {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(roomAgain):
		}
	}
	rt.Log.Info("the disk has room again")
	rt.BeatSoon()
	return nil
}

// full is Room for people. It is asked and not remembered, so that a look at the agent shows
// a full disk where nothing has tried to write.
func (rt *Runtime) full() (api.Condition, bool) {
	err := rt.Room()
	if err == nil {
		rt.fullAt.Store(0)
		return api.Condition{}, false
	}
	rt.fullAt.CompareAndSwap(0, rt.Health.now().UnixNano())
	return api.Condition{
		Name: conditionDisk, Status: string(Degraded), Since: api.At(time.Unix(0, rt.fullAt.Load())), Message: err.Error(),
		Remedy: "free disk space: all goes on by itself; until then no action is begun, and of events only critical ones are taken",
	}, true
}
