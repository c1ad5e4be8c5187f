package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stavily/agents/deployments"
	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/api"
)

// managed is what a service manager hears.
func managed(t *testing.T) (heard func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	buf := make([]byte, 4096)
	return func() []string {
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("the manager hears nothing: %v", err)
		}
		return strings.Split(string(buf[:n]), "\n")
	}
}

// The manager is told of the start, of each change and of the end, and the watchdog is
// fed exactly while nothing is failing.
func TestManagerIsTold(t *testing.T) {
	heard := managed(t)
	t.Setenv("WATCHDOG_USEC", "150000")
	rt := &Runtime{Health: newHealth(time.Now)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rt.tellManager(ctx) }()
	if got, want := heard(), []string{"READY=1", "STATUS=ok", "WATCHDOG=1"}; !slices.Equal(got, want) {
		t.Errorf("at the start it hears %q, want %q", got, want)
	}
	if got := heard(); !slices.Equal(got, []string{"WATCHDOG=1"}) {
		t.Errorf("then it hears %q", got)
	}
	rt.Health.Set("away", Degraded, false, "two\nlines", "")
	hears(t, heard, []string{"STATUS=degraded: away: two lines", "WATCHDOG=1"})
	rt.Health.Set("stuck", Failing, false, "no progress", "")
	hears(t, heard, []string{"STATUS=failing: stuck: no progress"})
	time.Sleep(300 * time.Millisecond) // six chances to feed it
	cancel()
	if got, want := heard(), []string{"STOPPING=1", "STATUS=stopping"}; !slices.Equal(got, want) {
		t.Errorf("while it fails and ends the manager hears %q, want %q", got, want)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A manager that cannot be told at first, because it is busy or starts anew itself, is told
// that the agent is up once it can.
func TestManagerIsToldLate(t *testing.T) {
	heard := managed(t)
	path := os.Getenv("NOTIFY_SOCKET")
	t.Setenv("WATCHDOG_USEC", "150000")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	logged, log := io.Pipe()
	defer logged.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- (&Runtime{Health: newHealth(time.Now), Log: slog.New(slog.NewTextHandler(log, nil))}).tellManager(ctx)
	}()
	if _, err := logged.Read(make([]byte, 1)); err != nil { // it has failed, and waits until the rest is read
		t.Fatal(err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	logged.Close()
	if got, want := heard(), []string{"READY=1", "STATUS=ok", "WATCHDOG=1"}; !slices.Equal(got, want) {
		t.Errorf("it hears %q, want %q", got, want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func hears(t *testing.T, heard func() []string, want []string) {
	t.Helper()
	for range 10 {
		if slices.Equal(heard(), want) {
			return
		}
	}
	t.Fatalf("the manager does not hear %q", want)
}

func TestStatusIsOneLine(t *testing.T) {
	line := oneLine(api.Health{Status: "degraded", Conditions: []api.Condition{
		{Name: "a", Status: "degraded", Message: strings.Repeat("ä\r\n", 500)},
	}})
	if n := utf8.RuneCountInString(line); n != maxStatus || strings.ContainsAny(line, "\r\n") {
		t.Errorf("%d characters: %q", n, line)
	}
}

// An agent that drains for as long as it may has ended before the manager kills it, and
// the watchdog can be fed several times before it bites.
func TestDrainFitsTheUnit(t *testing.T) {
	if drainLimit+10*time.Second > service.StopLimit {
		t.Errorf("the agent drains for %v, the unit gives it %v", drainLimit, service.StopLimit)
	}
	if !strings.Contains(deployments.AgentUnit, "\nWatchdogSec=60\n") || statusEvery*3 > time.Minute {
		t.Errorf("the unit's watchdog bites within three times %v", statusEvery)
	}
}

// Without a socket nothing is told, and the agent goes on.
func TestWithoutManager(t *testing.T) {
	os.Unsetenv("NOTIFY_SOCKET")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Runtime{}).tellManager(ctx); err != nil {
		t.Error(err)
	}
}
