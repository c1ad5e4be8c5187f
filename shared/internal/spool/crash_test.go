package spool

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const crashDir = "STAVILY_TEST_SPOOL_DIR"

// TestMain turns the test binary into the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		appendForEver(dir)
	}
	os.Exit(m.Run())
}

// appendForEver appends from several goroutines and says on standard output what
// was confirmed.
func appendForEver(dir string) {
	s, err := Open(dir, Options{SegmentBytes: 1000})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				p := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				seq, err := s.Append(context.Background(), []byte(p), false)
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Printf("%d %s\n", seq, p)
			}
		})
	}
	wg.Wait()
}

// R2 in small: whenever the process is killed, what it confirmed is there.
func TestKill(t *testing.T) {
	dir := t.TempDir() + "/spool"
	confirmed := map[uint64]string{}
	for round := range 8 {
		for seq, p := range killAfter(t, dir, 3+round*7) {
			if confirmed[seq] != "" {
				t.Errorf("number %d was given out twice", seq)
			}
			confirmed[seq] = p
		}
	}
	s := open(t, dir, Options{})
	got := batch(t, s, 1<<20, 1<<30)
	if len(got.Gaps) > 0 {
		t.Errorf("gaps after kill: %v", got.Gaps)
	}
	for seq, p := range confirmed {
		if got.Records[seq] != p {
			t.Errorf("record %d = %q, confirmed was %q", seq, got.Records[seq], p)
		}
	}
}

// killAfter runs the child until it confirmed n events, kills it, and returns all
// that it confirmed.
func killAfter(t *testing.T, dir string, n int) map[uint64]string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	confirmed := map[uint64]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var seq uint64
		var p string
		if _, err := fmt.Sscan(lines.Text(), &seq, &p); err != nil || strings.HasPrefix(lines.Text(), "error") {
			t.Errorf("child: %s", lines.Text())
			break
		}
		confirmed[seq] = p
		if len(confirmed) == n {
			cmd.Process.Kill()
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	return confirmed
}
