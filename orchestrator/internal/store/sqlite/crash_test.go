package sqlite

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

// The test binary runs itself as a child that is meant to die or to run into a wall.
const (
	childEnv = "STAVILY_TEST_CHILD" // which
	dirEnv   = "STAVILY_TEST_DIR"   // where its database is
)

// children return why they failed.
var children = map[string]func(dir string) error{"commit": commitForEver}

func runChild(name, dir string) int {
	if err := children[name](dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func child(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// commitForEver prints each note once it is told that it is durable.
func commitForEver(dir string) error {
	s, err := Open(context.Background(), filepath.Join(dir, "stavily.db"))
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), caller, n)
				if err := s.Org("o").Update(context.Background(), storetest.Note(id)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Println(id)
			}
		})
	}
	all.Wait()
	return nil
}

// What was answered before a kill -9 is there after it. (That a power cut loses
// nothing either rests on synchronous=FULL; see TestSettings.)
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	acked := map[string]bool{}
	for range rounds {
		killDuringCommits(t, dir, acked)
		s := openIn(t, dir)
		there := map[string]bool{}
		for _, id := range storetest.Notes(t, s) {
			if there[id] {
				t.Errorf("%s is there twice", id)
			}
			there[id] = true
		}
		for id := range acked {
			if !there[id] {
				t.Errorf("%s was answered and is not there", id)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < rounds {
		t.Errorf("only %d commits were answered", len(acked))
	}
}

// killDuringCommits adds to acked what a child was told before it was killed.
func killDuringCommits(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	cmd := child(t, "commit", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := limits.NewLineReader(out, 100)
	left := 1 + rand.IntN(300)
	for {
		id, _, err := lines.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		acked[strings.Clone(string(id))] = true
		if left--; left == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); left > 0 {
		t.Fatalf("the child ended by itself: %v", err)
	}
}
