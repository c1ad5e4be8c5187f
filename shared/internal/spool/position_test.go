package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// An acknowledgement must not need room on the disk (G6): both slots are there from the start.
func TestThePositionHasItsPlaceFromTheStart(t *testing.T) {
	pf, _, _, err := openPosition(filepath.Join(t.TempDir(), "position"))
	if err != nil {
		t.Fatal(err)
	}
	defer pf.file.Close()
	if info, err := pf.file.Stat(); err != nil || info.Size() < slotDistance+slotBytes+ledgerBytes {
		t.Errorf("the file of the position: %v, %v; want room for both slots", info, err)
	}
}

// R8: no single damage to the position loses the epoch, or moves it anywhere but
// to the one before.
func TestDamagedPosition(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b", "c")
	ack(t, s, 1)
	ack(t, s, 2)
	epoch := s.Epoch()
	s.Close()
	path := filepath.Join(s.dir, "position")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int) {
		t.Helper()
		pf, p, ok, err := openPosition(path)
		if err != nil {
			t.Fatal(err)
		}
		defer pf.file.Close()
		if !ok || (position{Epoch: p.Epoch}) != (position{Epoch: s.position.Epoch}) || p.Acked < 1 || p.Acked > 2 {
			t.Errorf("%s %d: %v, position %+v; want epoch %s and acked 1 or 2", what, at, ok, p, epoch)
		}
	}
	for bit := range len(good) * 8 {
		if at := bit / 8; at > slotBytes && at < slotDistance {
			continue // between the slots is nothing
		}
		damage(t, path, bit/8)
		check("bit of byte", bit/8)
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{slotBytes, slotDistance, slotDistance + slotBytes - 1} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		check("cut to", int(size))
	}
}

// Without its position a spool sends everything that it has under a new epoch.
func TestLostPosition(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBytes: 4096, SegmentBytes: 1}) // a segment for each event
	appendTo(t, s, "a", "b", "c")
	ack(t, s, 1)
	epoch := s.Epoch()
	s.Close()
	if err := os.Remove(filepath.Join(s.dir, "position")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if s.Epoch() == epoch {
		t.Error("the epoch is the old one, as if by magic")
	}
	expect(t, "after the loss", batch(t, s, 10, 100), content{
		Records: map[uint64]string{2: "b", 3: "c"},
		Gaps:    []api.Gap{{From: 1, To: 1, Count: 0, Reason: ReasonRenewed}},
		Through: 3,
	})
}

func FuzzPosition(f *testing.F) {
	f.Add(position{Acked: 7, Generation: 3}.encode())
	f.Add(make([]byte, slotBytes))
	f.Fuzz(func(t *testing.T, slot []byte) {
		if len(slot) != slotBytes {
			return
		}
		if p, ok := decode(slot); ok && string(p.encode()) != string(slot) {
			t.Errorf("%x decoded to %+v, which encodes differently", slot, p)
		}
	})
}
