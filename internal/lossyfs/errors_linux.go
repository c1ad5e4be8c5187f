package lossyfs

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/stavily/agents/internal/limits"
)

// EnvErrors says how often each of the calls fails under each store; see make io-errors.
const EnvErrors = "STAVILY_IO_ERRORS"

// calls is how many of the first calls of a process are made to fail, one in each life.
const calls = 60

// usualErrors are those that fail where nobody asks for all.
var usualErrors = []int{2, 9}

const (
	afterwards = 50   // items that are awaited of a store that goes on
	patience   = 5000 // items within which the call must have come
)

// Errors has the k-th write, and the k-th fsync, of a process fail with EIO, then cuts the power
// when the process has ended by that, or has gone on for a while; the next process must read the
// store and go on. It returns how many items were acknowledged and gone afterwards.
func Errors(t *testing.T, name string) (lost, failures int) {
	t.Helper()
	rounds, set := atLeastOne(t, EnvErrors, 1)
	ks := usualErrors
	if set {
		ks = nil
		for k := range calls {
			ks = append(ks, k+1)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := run{t: t, disk: New(seed), dir: t.TempDir(), chance: rand.New(rand.NewPCG(seed, 1)), acked: map[string]bool{}}
	ended := 0
	for range rounds {
		for _, k := range ks {
			for call, what := range []string{"write", "fsync"} {
				if r.fail(r.child("write", name), Call(call), k) {
					ended++
				}
				failures++
				if missing := r.missing(r.child("read", name)); len(missing) > 0 {
					lost += len(missing)
					t.Logf("EIO of %s %d lost %d items, such as %q", what, k, len(missing), missing[0])
				}
			}
		}
	}
	t.Logf("%d failures, %d ended the process, %d items acknowledged, %d lost", failures, ended, r.total, lost)
	return lost, failures
}

// fail lets the writer work until the call fails and some items more, then cuts the power. It
// tells whether the writer ended by itself, as it may: a supervisor starts it again.
func (r *run) fail(cmd *exec.Cmd, what Call, k int) (ended bool) {
	r.t.Helper()
	said := limits.NewBuffer(mostItem)
	cmd.Stderr = said
	r.mounted(func() {
		r.disk.Fail(what, k)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		lines := limits.NewLineReader(out, mostItem)
		for items, left := 0, afterwards; left > 0 && items < patience; items++ {
			item, _, err := lines.Next()
			if err != nil {
				ended = true
				break
			}
			r.acked[string(item)] = true
			r.total++
			if r.disk.Failed() {
				left--
			}
		}
		if !r.disk.Failed() {
			r.t.Fatalf("call %d did not come, or the writer ended before it: %s", k, said.Bytes())
		}
		r.disk.Cut()
		_ = cmd.Process.Kill() // where it did not end by itself
		if _ = cmd.Wait(); ended && cmd.ProcessState.ExitCode() != 1 {
			r.t.Fatal(fmt.Errorf("the writer crashed: %s: %s", cmd.ProcessState, said.Bytes()))
		}
	})
	return ended
}
