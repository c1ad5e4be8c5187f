//go:build failpoints

package failpoint

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// directory is where this process's points are.
func directory(t *testing.T) string {
	t.Helper()
	t.Setenv("FAILPOINTS", t.TempDir())
	if dir() == "" {
		t.Skip("the directory was asked for before this test")
	}
	if err := os.MkdirAll(dir(), 0o700); err != nil { // it is asked for once, and was another test's
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(filepath.Dir(dir()))) }) // what TempDir made for that test
	return dir()
}

func TestAnArmedPointActsOnce(t *testing.T) {
	d := directory(t)
	if err := File("file.before", "/some/where/state.json"); err != nil {
		t.Errorf("a point that is not armed: %v", err)
	}
	path := filepath.Join(d, "file.before:state.json")
	if _, err := os.Stat(path + ".seen"); err != nil {
		t.Errorf("it was passed: %v", err)
	}
	if err := os.WriteFile(path+".armed", []byte("error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if File("file.before", "state.json") != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n != 1 {
		t.Errorf("it failed %d times", n)
	}
	if _, err := os.Stat(path + ".hit"); err != nil {
		t.Errorf("no proof: %v", err)
	}
}

// What is armed with a rate acts in about that part of the times, as often as the proof says, and
// the same ones for the same seed.
func TestARate(t *testing.T) {
	d := directory(t)
	acts := func(name string) (times []int) {
		if err := os.WriteFile(filepath.Join(d, name+".armed"), []byte("error 0.1 7"), 0o600); err != nil {
			t.Fatal(err)
		}
		for n := range 1000 {
			if Hit(name) != nil {
				times = append(times, n)
			}
		}
		return times
	}
	first := acts("rate.a")
	if len(first) < 50 || len(first) > 150 {
		t.Errorf("it acted %d times in 1000, want about 100", len(first))
	}
	path := filepath.Join(d, "rate.a")
	if proof, err := os.Stat(path + ".hit"); err != nil || proof.Size() != int64(len(first)) {
		t.Errorf("the proof of %d times: %v, %v", len(first), proof, err)
	}
	if err := os.Remove(path + ".armed"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := Hit("rate.a"); err != nil {
			t.Fatalf("it is not armed any more: %v", err)
		}
	}
	if slices.Equal(first, acts("rate.b")) {
		t.Error("another point acts at the same times")
	}
	again := func() []int { // as in a process that begins anew
		delete(dice, "rate.a")
		return acts("rate.a")
	}
	next := again()
	if slices.Equal(first, next) {
		t.Error("a process that goes on after some acts at the same times as the first")
	}
	if err := os.Remove(path + ".hit"); err != nil {
		t.Fatal(err)
	}
	if same := again(); !slices.Equal(first, same) {
		t.Errorf("with the same seed it acted at %v and then at %v", first, same)
	}
}
