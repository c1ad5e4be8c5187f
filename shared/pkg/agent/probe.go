package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
)

const (
	probeLimit  = 5 * time.Second
	maxProbe    = 256 << 10 // an answer with a condition for each of a thousand monitors
	maxAddrFile = 256
)

// askHealth asks the agent whose bound address stands in addrFile and prints its
// answer. It returns errUnhealthy when the answer is not 200.
func askHealth(ctx context.Context, addrFile, path string, out io.Writer) error {
	addr, err := limits.ReadFile(addrFile, maxAddrFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s (%s is missing)", errUnhealthy, nobody(addrFile), addrFile)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(string(bytes.TrimSpace(addr)))+path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{} // of its own: no proxy stands between a host and itself
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%w: the agent does not answer: %w", errUnhealthy, err)
	}
	defer resp.Body.Close()
	body, err := limits.ReadAll(resp.Body, maxProbe)
	if err != nil {
		return err
	}
	if _, err := out.Write(body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errUnhealthy, resp.Status)
	}
	return nil
}

// nobody says why there is no address: an agent that stops takes it away and leaves its lock.
func nobody(addrFile string) string {
	if _, err := os.Stat(filepath.Join(filepath.Dir(addrFile), lockName)); err == nil {
		return "no agent runs here: start it"
	}
	return "no agent has run here yet"
}

// reachable turns the address of every interface into the local one.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}
