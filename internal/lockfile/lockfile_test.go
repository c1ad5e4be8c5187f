package lockfile

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const envHold = "LOCKFILE_TEST_HOLD"

// TestMain is also the other process: it takes a lock, says so, and waits.
func TestMain(m *testing.M) {
	path := os.Getenv(envHold)
	if path == "" {
		os.Exit(m.Run())
	}
	if _, err := Lock(path); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	select {}
}

func TestOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), envHold+"="+path)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	_, err = Lock(path)
	if err == nil || !strings.Contains(err.Error(), "held by process "+strconv.Itoa(other.Process.Pid)) {
		t.Fatalf("Lock beside a holder: %v, want a refusal that names process %d", err, other.Process.Pid)
	}

	other.Process.Kill() // the kernel gives the lock back, not the holder
	other.Wait()
	release, err := Lock(path)
	if err != nil {
		t.Fatalf("Lock after the holder was killed: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(path)
	if err != nil {
		t.Fatalf("Lock after release: %v", err)
	}
	again()
}
