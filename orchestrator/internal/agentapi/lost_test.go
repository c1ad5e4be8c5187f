package agentapi_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestLostAnswers has each call of agents be dealt with and its answer lost, on a connection that
// ends, and made again as agents make it: its effect must be there once, and the answer be what
// the agent needs to go on.
func TestLostAnswers(t *testing.T) {
	times := answers(t)
	there := map[route.ID]bool{}
	for _, c := range losses {
		there[c.route] = true
	}
	for _, row := range route.Table() {
		if row.Listener == route.Agents && !there[row.ID] {
			t.Errorf("no answer of %s is lost: each route of agents needs a case", row.ID)
		}
	}
	w := newLossy(t, time.Duration(times)*time.Second)
	for _, c := range losses {
		t.Run(strings.TrimSpace(c.route.String()+" "+c.what), func(t *testing.T) {
			w.t = t
			begin, next := time.Now(), c.begin(w)
			rounds := make([]round, times)
			for n := range rounds {
				rounds[n] = next(n + 1)
			}
			for _, r := range rounds {
				w.lose(c.route, r.call)
			}
			for n, r := range rounds {
				if err := again(r.call); api.CodeOf(err) != c.code || err != nil && c.code == "" {
					t.Fatalf("call %d again: %v, want %q", n+1, err, c.code)
				}
				r.check()
			}
			t.Logf("%d answers lost in %s", times, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// answers is how many of each call are lost: STAVILY_LOST_ANSWERS (make lost-answers), or few.
func answers(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("STAVILY_LOST_ANSWERS"))
	if err != nil {
		return 5
	}
	return n
}

// round is one call, which is made until it is answered, and a look at what has come of it.
type round struct {
	call  func() error
	check func()
}

// lossy is a server behind a network that loses answers.
type lossy struct {
	t       *testing.T // of the route that has its turn
	s       *servertest.Server
	network *network
	metrics string // address
}

func newLossy(t *testing.T, lease time.Duration) *lossy {
	metrics := freeAddress(t)
	s := servertest.StartWith(t, func(o *server.Options) {
		o.MetricsListen, o.Lease, o.RenewalGrace, o.AllowJWT = metrics, lease, 10*time.Minute, true
	})
	n := newNetwork(t, s.Addr)
	s.Addr = n.Addr().String()
	return &lossy{t, s, n, metrics}
}

// lose makes a call that the server deals with well, and whose answer is lost.
func (w *lossy) lose(row route.ID, call func() error) {
	w.t.Helper()
	before := w.served(row)
	w.network.deaf.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- call() }()
	for deadline := time.Now().Add(time.Minute); w.served(row) == before; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			w.t.Fatalf("the call ended with %v before its answer was lost", err)
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatal("the server has not dealt with the call for a minute")
		}
	}
	w.network.cut()
	if err := <-ended; err == nil || api.CodeOf(err) != "" {
		w.t.Fatalf("the call whose answer was lost ended with %v", err)
	}
}

// served is how many calls the server has dealt with well.
func (w *lossy) served(row route.ID) int {
	w.t.Helper()
	sample := fmt.Sprintf("stavily_server_requests_total{route=%q,outcome=\"ok\"} ", row)
	_, rest, found := strings.Cut(metrics(w.t, w.metrics), sample)
	if !found {
		return 0
	}
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// again makes a call until it is answered, as agents do.
func again(call func() error) error {
	pauses := api.Backoff{Initial: 10 * time.Millisecond}
	for end := time.Now().Add(time.Minute); ; {
		err := call()
		if err == nil || !api.Retryable(err) || time.Now().After(end) {
			return err
		}
		time.Sleep(pauses.Next(api.RetryAfter(err)))
	}
}

// list is what people see of a list, as far as parameters, each followed by its value, pick it.
func list[T any](w *lossy, path string, query ...string) []T {
	w.t.Helper()
	values := url.Values{}
	for n := 0; n < len(query); n += 2 {
		values.Set(query[n], query[n+1])
	}
	rows, err := operatorapi.List[T](w.t.Context(), w.s.Operator, path, values, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// records are what is on record of an action on an object.
func (w *lossy) records(action, object string) []operatorapi.Audit {
	w.t.Helper()
	return list[operatorapi.Audit](w, "/api/v1/audit", "action", action, "object", object)
}

// recorded checks that there is one such record, which has text in its detail.
func (w *lossy) recorded(action, object, text string) {
	w.t.Helper()
	if rows := w.records(action, object); len(rows) != 1 || !strings.Contains(rows[0].Detail, text) {
		w.t.Errorf("%s of %s is on record as %+v, want once, with %q", action, object, rows, text)
	}
}

// network carries bytes between agents and a server. While it is deaf what agents say arrives and
// no answer does.
type network struct {
	net.Listener
	server string
	deaf   atomic.Bool

	mu   sync.Mutex // guards open
	open map[*net.TCPConn]bool
}

func newNetwork(t *testing.T, server string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Listener: l, server: server, open: map[*net.TCPConn]bool{}}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			agent, err := n.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				carrying.Go(func() { n.carry(agent.(*net.TCPConn)) })
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.cut()
		carrying.Wait()
	})
	return n
}

// carry carries one connection to its end.
func (n *network) carry(agent *net.TCPConn) {
	conn, err := net.Dial("tcp", n.server)
	if err != nil {
		agent.Close()
		return
	}
	server := conn.(*net.TCPConn)
	n.mu.Lock()
	n.open[agent], n.open[server] = true, true
	n.mu.Unlock()
	var asked atomic.Bool // the handshake is over for the agent
	var both sync.WaitGroup
	both.Go(func() {
		copyTo(server, agent, func(piece []byte) bool {
			if isData(piece) {
				asked.Store(true)
			}
			return true
		})
	})
	both.Go(func() {
		copyTo(agent, server, func([]byte) bool { return !asked.Load() || !n.deaf.Load() })
	})
	both.Wait()
	n.mu.Lock()
	delete(n.open, agent)
	delete(n.open, server)
	n.mu.Unlock()
}

// cut ends every connection without a word, and lets answers through from then on.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.open {
		_ = c.SetLinger(0) // of one that is closed already
		c.Close()
	}
	n.deaf.Store(false)
}

// copyTo carries the pieces that pass, and closes both in the end.
func copyTo(to, from *net.TCPConn, pass func(piece []byte) bool) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		k, err := from.Read(buffer)
		if k > 0 && pass(buffer[:k]) {
			if _, err := to.Write(buffer[:k]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// isData reports whether a piece of TLS 1.3 begins with what is encrypted, perhaps behind a record
// of six bytes that is there for middleboxes alone: the client has all of the server's handshake then.
func isData(piece []byte) bool {
	const changeCipherSpec, applicationData = 20, 23
	if piece[0] == changeCipherSpec && len(piece) > 6 {
		piece = piece[6:]
	}
	return piece[0] == applicationData
}
