package lossyfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/limits"
)

// EnvCount says how many cuts each store takes; see make power.
const EnvCount = "STAVILY_POWER_CUTS"

// usualCuts are few, as each costs a mount and two processes.
const usualCuts = 4

// Store is what the cuts are for. Both functions run in a process of their own.
type Store struct {
	// Write works in dir for ever, and says each item once it is durable. It may be told so
	// by several goroutines.
	Write func(dir string, durable func(item string)) error
	// Read says each item that is there.
	Read func(dir string, there func(item string)) error
}

// envChild has, in a process that writes or reads, what it does, of which store, and where.
const envChild = "STAVILY_POWER_CHILD"

// Children is called by an init function of the test package, as this test's processes are
// its binary once more: in those it does their work and does not return.
func Children(stores map[string]Store) {
	what, set := os.LookupEnv(envChild)
	if !set {
		return
	}
	verb, rest, _ := strings.Cut(what, " ")
	name, dir, _ := strings.Cut(rest, " ")
	work := stores[name].Write
	if verb == "read" {
		work = stores[name].Read
	}
	if err := work(dir, func(item string) { fmt.Println(item) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Bounds of what a process says: one item, and, far more than it has after the most cuts,
// all that a store holds.
const (
	mostItem = 1 << 10
	mostRead = 64 << 20
)

// Cuts has the power cut at random times under a store, and returns how many items were
// acknowledged and gone afterwards, and how many cuts lost any. The store goes on with what it has
// from cut to cut. One that cannot be read after a cut fails the test.
func Cuts(t *testing.T, name string) (lost, cuts int) {
	t.Helper()
	count, _ := atLeastOne(t, EnvCount, usualCuts)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := run{t: t, disk: New(seed), dir: t.TempDir(), chance: rand.New(rand.NewPCG(seed, 1)), acked: map[string]bool{}}
	for range count {
		r.work(r.child("write", name))
		if missing := r.missing(r.child("read", name)); len(missing) > 0 {
			lost, cuts = lost+len(missing), cuts+1
			t.Logf("a cut lost %d items, such as %q", len(missing), missing[0])
		}
	}
	t.Logf("%d cuts, %d items acknowledged, %d lost in %d cuts", count, r.total, lost, cuts)
	if r.total < 10*count {
		t.Errorf("only %d items were acknowledged over %d cuts: too few to tell anything", r.total, count)
	}
	return lost, cuts
}

// atLeastOne is the count that the environment asks for. The test is skipped where there can be
// no such disk.
func atLeastOne(t *testing.T, name string, usual int) (count int, set bool) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("a lossy disk is mounted by root, through /dev/fuse")
	}
	text, set := os.LookupEnv(name)
	if !set {
		return usual, false
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("%s=%q: must be a positive number", name, text)
	}
	return count, true
}

type run struct {
	t      *testing.T
	disk   *Disk
	dir    string
	chance *rand.Rand
	acked  map[string]bool // and not missing yet
	total  int
}

// mounted runs f while the disk is there.
func (r *run) mounted(f func()) {
	r.t.Helper()
	unmount, err := r.disk.Mount(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := unmount(); err != nil {
			r.t.Fatal(err)
		}
	}()
	f()
}

// work lets the writer go on until some items are acknowledged, then cuts the power.
func (r *run) work(cmd *exec.Cmd) {
	r.t.Helper()
	r.mounted(func() {
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		defer func() { // ends of itself or by the cut: either is as it is
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		lines := limits.NewLineReader(out, mostItem)
		for left := 10 + r.chance.IntN(200); left > 0; left-- {
			item, _, err := lines.Next()
			if err != nil {
				r.t.Fatalf("the writer ended by itself (%v)", err)
			}
			r.acked[string(item)] = true
			r.total++
		}
		r.disk.Cut()
	})
}

// missing reads what is there. What is missing once is not asked for again.
func (r *run) missing(cmd *exec.Cmd) (lost []string) {
	r.t.Helper()
	r.mounted(func() {
		out := limits.NewBuffer(mostRead)
		cmd.Stdout = out
		if err := cmd.Run(); err != nil {
			r.t.Fatalf("after a cut the store cannot be read: %v", err)
		}
		there := map[string]bool{}
		for line := range strings.Lines(string(out.Bytes())) {
			there[strings.TrimSuffix(line, "\n")] = true
		}
		for item := range r.acked {
			if !there[item] {
				lost = append(lost, item)
				delete(r.acked, item)
			}
		}
	})
	return lost
}

func (r *run) child(verb, name string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+verb+" "+name+" "+r.dir)
	cmd.Stderr = os.Stderr
	return cmd
}
