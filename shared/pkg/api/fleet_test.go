package api_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// TestAFleetComesBackSpreadOut: a thousand agents lose their server at one moment, for
// ten minutes, and do not return at one moment. The loop is that of every caller.
func TestAFleetComesBackSpreadOut(t *testing.T) {
	const fleet, outage = 1000, 10 * time.Minute
	for name, down := range map[string]struct {
		answer     func() (*http.Response, error)
		retryAfter time.Duration
	}{
		"nobody answers": {func() (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}, 0},
		"told to wait": {func() (*http.Response, error) {
			a := answer(http.StatusServiceUnavailable, api.ErrorBody{Error: api.Errorf(api.CodeUnavailable, "later")})
			a.Header.Set("Retry-After", "30")
			return a, nil
		}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := time.Now().Add(outage)
				back := make([]time.Duration, fleet)
				var agents sync.WaitGroup
				for i := range fleet {
					agents.Go(func() {
						c := dial(t, "https://stavily.test", &tls.Config{})
						api.AnswerWith(c, roundTrip(func(*http.Request) (*http.Response, error) {
							if time.Now().Before(up) {
								return down.answer()
							}
							return answer(http.StatusOK, api.HeartbeatResponse{ServerTime: now}), nil
						}))
						var backoff api.Backoff
						for {
							err := beat(t.Context(), c)
							if err == nil {
								break
							}
							time.Sleep(backoff.Next(api.RetryAfter(err)))
						}
						back[i] = time.Since(up)
					})
				}
				agents.Wait()
				bySecond, last := map[int]int{}, time.Duration(0)
				for _, d := range back {
					bySecond[int(d/time.Second)]++
					last = max(last, d)
				}
				busiest := 0
				for _, n := range bySecond {
					busiest = max(busiest, n)
				}
				// Of pauses up to a minute, 33 of a thousand end within the first second.
				if busiest > fleet*7/100 || last > api.DefaultBackoffMax+down.retryAfter {
					t.Errorf("%d of %d came back in one second, the last after %v", busiest, fleet, last)
				}
				t.Logf("busiest second: %d of %d; the last after %v", busiest, fleet, last.Round(time.Second))
			})
		})
	}
}

// TestThroughAProxy goes through a real CONNECT proxy, in a process of its own because
// net/http reads the environment once: mutual TLS reaches the server untouched, and all
// calls share one connection of HTTP/2.
func TestThroughAProxy(t *testing.T) {
	if os.Getenv("STAVILY_TEST_THROUGH_PROXY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestThroughAProxy$", "-test.v")
		cmd.Env = append(os.Environ(), "STAVILY_TEST_THROUGH_PROXY=1", "NO_PROXY=", "no_proxy=")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "went through the proxy") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := newStand(t)
	srv := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || len(r.TLS.VerifiedChains) == 0 {
			t.Errorf("%s by HTTP/%d with %d chains", r.URL, r.ProtoMajor, len(r.TLS.VerifiedChains))
		}
		if r.Method == http.MethodGet {
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		alive(w, r)
	}))
	var asked atomic.Int32
	proxy := connectProxy(t, strings.TrimPrefix(srv.url, "https://"), func(r *http.Request) {
		asked.Add(1)
		if user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); r.Host != "stavily.test:8443" || user != "scott" || password != "tiger" {
			t.Errorf("CONNECT %s by %q", r.Host, user)
		}
	})
	t.Setenv("HTTPS_PROXY", "http://scott:tiger@"+proxy)
	c := dial(t, "https://stavily.test:8443", s.client)
	polled := make(chan error)
	go func() {
		_, err := c.Poll(t.Context(), 5*time.Second, 1)
		polled <- err
	}()
	for range 3 {
		if err := beat(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	if err := <-polled; err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n < 1 || n > 2 { // the first two calls may each have begun to connect
		t.Errorf("%d connections through the proxy", n)
	}
	fmt.Println("went through the proxy")
}

// connectProxy is a proxy of RFC 9110, section 9.3.6, that reaches the target only.
func connectProxy(t *testing.T, target string, asked func(*http.Request)) string {
	return listen(t, func(in net.Conn) {
		defer in.Close()
		reader := bufio.NewReader(in)
		r, err := http.ReadRequest(reader)
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		asked(r)
		out, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer out.Close()
		if _, err := io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { pass(out, reader) })
		both.Go(func() { pass(in, out) })
		both.Wait()
	})
}

// pass copies until one side ends, and lets the other end too.
func pass(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, net.ErrClosed) {
		to.Close()
		return
	}
	to.Close()
}
