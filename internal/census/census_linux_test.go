package census

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func TestCount(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	server := httptest.NewServer(mux)
	defer server.Close()
	addr := server.Listener.Addr().String()
	before, err := Of(t.Context(), os.Getpid(), addr)
	if err != nil {
		t.Fatal(err)
	}
	// One that starts another. Of descriptors and goroutines some are of the counting itself.
	cmd := exec.Command("/bin/sh", "-c", "sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() { <-release }()
	}
	for deadline := time.Now().Add(time.Minute); len(Below(cmd.Process.Pid)) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	after, err := Of(t.Context(), os.Getpid(), addr)
	below := Below(cmd.Process.Pid)
	if err != nil || after.Descriptors < before.Descriptors+45 || after.Goroutines < before.Goroutines+45 || after.Processes != before.Processes+2 || len(below) != 1 || !slices.Contains(Below(os.Getpid()), below[0]) {
		t.Errorf("before %v, after %v, %v; below the shell %v", before, after, err, below)
	}
	close(release)
	for _, pid := range append(below, cmd.Process.Pid) {
		p, err := os.FindProcess(pid)
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Error(err)
		}
	}
	_ = cmd.Wait()
	if _, err := Of(t.Context(), 1, "127.0.0.1:1"); err == nil {
		t.Error("nobody answers and something was counted")
	}
}
