package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestKeptRoom(t *testing.T) {
	t.Parallel()
	for total, want := range map[int64]int64{8 << 20: 512 << 10, 1 << 30: 64 << 20, 1 << 40: 64 << 20, 0: 0} {
		if got := kept(total); got != want {
			t.Errorf("of %d bytes %d are kept, want %d", total, got, want)
		}
	}
}

// A disk without room shows where nothing has tried to write, and since when; on processes
// with such disks see make disk-full.
func TestAFullDiskIsNotReady(t *testing.T) {
	t.Parallel()
	h := newHealth(time.Now)
	since, full := api.At(time.Now().Add(-time.Minute)), false
	h.full = func() (api.Condition, bool) {
		return api.Condition{Name: conditionDisk, Status: string(Degraded), Since: since}, full
	}
	if ready, against := h.Ready(); !ready {
		t.Errorf("not ready with room: %+v", against)
	}
	full = true
	ready, against := h.Ready()
	if ready || !slices.Equal(against, []api.Condition{{Name: conditionDisk, Status: string(Degraded), Since: since}}) {
		t.Errorf("ready %v with a full disk: %+v", ready, against)
	}
	if got := h.Snapshot().Status; got != string(Degraded) {
		t.Errorf("%s with a full disk, want degraded", got)
	}
}
