package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func balances(t *testing.T, what string, s *Spool, want Account) {
	t.Helper()
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, stats.Account); diff != "" || stats.Account.Unaccounted() != 0 {
		t.Errorf("%s: %d unaccounted for (-want +got):\n%s", what, stats.Account.Unaccounted(), diff)
	}
}

// The former process sent a larger batch, of which the orchestrator has more than this one
// has sent yet.
func TestUnseen(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b", "c", "d", "e")
	batch(t, s, 5, 100)
	s = reopen(t, s)
	batch(t, s, 2, 100)
	if err := s.SetAside(4, ReasonRefused); err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(4, 2, 9); err != nil {
		t.Fatal(err)
	}
	want := Account{Taken: 5, Delivered: 1, Rejected: 1, Refused: 1, Unseen: 1, Waiting: 1}
	balances(t, "after a restart", s, want)
	balances(t, "after another", reopen(t, s), want)
}

// Events that were confirmed and are gone from the end, or all of them, are known to have
// been there; their numbers are not given out again in the same stream.
func TestALostLogIsNoticed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	appendTo(t, s, "a", "b", "c", "d")
	batch(t, s, 10, 100)
	ack(t, s, 1)
	epoch := s.Epoch()
	s.Close()
	if err := os.RemoveAll(filepath.Join(s.dir, "log")); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.dir, Options{})
	if r := s.Recovery(); len(r.Lost) != 1 || r.Lost[0].From != 2 || r.Lost[0].To != 4 {
		t.Errorf("the recovery says %+v, want 2 to 4 lost", r)
	}
	if s.Epoch() == epoch {
		t.Error("numbers are given out again under the epoch that has them")
	}
	appendTo(t, s, "e")
	want := Account{Taken: 5, Delivered: 1, Corrupt: 3, Waiting: 1}
	balances(t, "with the log gone", s, want)
	balances(t, "and told once", reopen(t, s), want)
}

// What found no room was not taken, and counts nowhere.
func TestAFullSpoolBalances(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBytes: 4096})
	ended, end := context.WithCancel(t.Context())
	end()
	taken := uint64(0)
	for range 100 {
		_, err := s.Append(ended, make([]byte, 100), taken%2 == 0)
		if err == nil {
			taken++
		} else if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if taken == 100 || taken == 0 {
		t.Fatalf("%d of 100 events fit into 4 KiB", taken)
	}
	balances(t, "full", s, Account{Taken: taken, Waiting: taken})
	batch(t, s, 100, 1<<20)
	ack(t, s, taken)
	appendTo(t, s, "more")
	balances(t, "emptied", reopen(t, s), Account{Taken: taken + 1, Delivered: taken, Waiting: 1})
}

// The position of a spool from before there were accounts, and one whose account is
// damaged, are taken as they are: it counts from there.
func TestAnAccountBegins(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"before accounts": func(path string) error { return os.Truncate(path, slotBytes) },
		"damaged": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[slotBytes+3] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
	} {
		s := open(t, t.TempDir(), Options{})
		appendTo(t, s, "a", "b", "c")
		batch(t, s, 10, 100)
		ack(t, s, 2) // the renewal at the beginning was of generation 1, this one is in the first slot
		epoch := s.Epoch()
		s.Close()
		if err := change(filepath.Join(s.dir, "position")); err != nil {
			t.Fatal(err)
		}
		s = open(t, s.dir, Options{})
		if s.Epoch() != epoch {
			t.Errorf("%s: the epoch is another one", name)
		}
		balances(t, name, s, Account{Taken: 1, Waiting: 1})
	}
}
