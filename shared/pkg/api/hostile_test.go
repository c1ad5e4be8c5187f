package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/api/apitest"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// truth says whether an answer of 2xx to a call is a success, by other means than
// the client's: the fields that the specification gives, looked up in plain maps.
func truth(call string, status int, header http.Header, body []byte) bool {
	if status == http.StatusNoContent {
		return call == "Heartbeat" || call == "Poll" || call == "Assignments"
	}
	var doc map[string]any
	kind := strings.ToLower(strings.TrimSpace(header.Get("Content-Type"))) // any white space, as mime takes it
	if status < 200 || status > 299 || !strings.HasPrefix(kind, "application/json") || json.Unmarshal(body, &doc) != nil {
		return false
	}
	field := func(want string) any { // encoding/json ignores case; the last one counts, and null changes nothing
		for name, v := range doc {
			if strings.EqualFold(name, want) && v != nil {
				return v
			}
		}
		return nil
	}
	switch call {
	case "Enroll", "Renew":
		return field("agent_id") == string(agentID) && field("organization_id") != nil && field("certificate_pem") != nil && field("ca_pem") != nil
	case "Heartbeat":
		return field("server_time") != nil
	case "Poll":
		return field("status") == api.StatusNoInstructions || field("instruction") != nil || field("instructions") != nil
	case "Progress":
		return field("success") == true && field("instruction_id") == "01J9"
	case "Result":
		return field("acknowledged") == true
	case "Assignments":
		return field("version") != nil
	case "Events":
		return field("acked_through") != nil || field("events") != nil
	}
	return true // Logs: an empty object is a valid answer
}

// TestHostileServer sends 500 spoiled answers of every call over real connections:
// no panic, no false success, every other answer one of the documented errors.
func TestHostileServer(t *testing.T) {
	var seed atomic.Uint64
	var called *wire
	type sent struct {
		status int
		header http.Header
		body   []byte
	}
	var last sent
	_, c := both(t, func(w http.ResponseWriter, _ *http.Request) {
		spoiler := apitest.Spoiler{Rand: rand.New(rand.NewPCG(seed.Load(), 1))}
		last = sent{spoiler.Status(), spoiler.Header(), spoiler.Body(called.response, agentID)}
		for name, values := range last.header {
			w.Header()[name] = values
		}
		if last.status == http.StatusNoContent || last.status == http.StatusNotModified {
			w.Header().Del("Content-Length")
		}
		w.WriteHeader(last.status)
		w.Write(last.body)
	}, within(5*time.Second))
	successes := 0
	for n := range uint64(500) {
		called = &calls[n%uint64(len(calls))]
		seed.Store(n)
		_, err := called.invoke(t.Context(), c)
		switch {
		case err == nil && !truth(called.name, last.status, last.header, last.body):
			t.Errorf("seed %d: %s took this for a success: %d %v %.300q", n, called.name, last.status, last.header, last.body)
		case err == nil:
			successes++
		case !errors.As(err, new(*api.Error)) && !errors.As(err, new(*api.UnreachableError)):
			t.Errorf("seed %d: %s: %T %v, want a documented error", n, called.name, err, err)
		case len(err.Error()) > 4096:
			t.Errorf("seed %d: %s: an error of %d bytes", n, called.name, len(err.Error()))
		}
	}
	if successes < 50 {
		t.Errorf("only %d successes in 500: the answers are too broken to show anything", successes)
	}
}

// TestEndlessAnswers: bodies and headers without end, fast and slow.
func TestEndlessAnswers(t *testing.T) {
	endless := func(pause time.Duration, piece string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"instructions":[`)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(pause)
			}
		}
	}
	header := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 64 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 4096))
		}
		reply(w, http.StatusOK, api.HeartbeatResponse{ServerTime: now})
	}
	for name, h := range map[string]http.HandlerFunc{
		"fast":   endless(0, strings.Repeat(" ", 32<<10)),
		"slow":   endless(10*time.Millisecond, " "),
		"header": header,
	} {
		t.Run(name, func(t *testing.T) {
			_, c := both(t, h, within(200*time.Millisecond))
			begin := time.Now()
			for _, k := range calls {
				if _, err := k.invoke(t.Context(), c); !errors.As(err, new(*api.UnreachableError)) {
					t.Errorf("%s: %v, want an *api.UnreachableError", k.name, err)
				}
			}
			if d := time.Since(begin); d > time.Duration(len(calls))*5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestAnswersThatExplode: JSON that is small on the wire and large when decoded.
func TestAnswersThatExplode(t *testing.T) {
	fill := func(head, piece, tail string) []byte {
		return []byte(head + strings.Repeat(piece, (api.MaxPollBytes-len(head)-len(tail))/len(piece)) + tail)
	}
	for name, body := range map[string][]byte{
		"empty instructions":  fill(`{"instructions":[`, `{},`, `{}]}`),
		"one in another":      fill(`{"next_instruction":`, `{"context":`, `{}`),
		"numbers":             fill(`{"updated_fields":[`, `0,`, `0]}`),
		"empty strings":       fill(`{"updated_fields":[`, `"",`, `""]}`),
		"outcomes":            fill(`{"events":[`, `{},`, `{}]}`),
		"arguments":           fill(`{"instruction":{"plugin_configuration":{"arguments":[`, `"",`, `""]}}}`),
		"packages":            fill(`{"plugins":[`, `{},`, `{}]}`),
		"a key over and over": fill(`{`, `"instruction":{},`, `"instruction":{}}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, c := both(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Write(body)
			})
			for _, k := range calls {
				const most = 48 << 20 // leaves an agent of 15 MiB below 64
				if used := allocated(func() { k.invoke(t.Context(), c) }); used > most {
					t.Errorf("%s took %d MiB of memory for %d KiB", k.name, used>>20, len(body)>>10)
				}
			}
		})
	}
}

// allocated returns how far f could drive the heap if nothing were collected.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestGarbageBeforeHTTP2: after a good handshake the server speaks anything.
func TestGarbageBeforeHTTP2(t *testing.T) {
	s := newStand(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		garbage := make([]byte, random.IntN(4096))
		for i := range garbage {
			garbage[i] = byte(random.Uint32())
		}
		addr := listenTLS(t, s, func(c net.Conn) { c.Write(garbage) })
		if err := beat(t.Context(), dial(t, "https://"+addr, s.client, within(5*time.Second))); !errors.As(err, new(*api.UnreachableError)) {
			t.Errorf("%v, want an *api.UnreachableError", err)
		}
	}
}

// FuzzAnswer gives every call an answer without a network.
func FuzzAnswer(f *testing.F) {
	for _, k := range calls {
		b, err := json.Marshal(k.response)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(200, "application/json", b)
	}
	f.Add(403, "application/json", []byte(`{"error":{"code":"agent_revoked","message":"no","details":{}}}`))
	f.Add(502, "text/html", []byte("<html>"))
	f.Add(204, "", []byte{})
	c, err := api.NewClient(api.ClientOptions{BaseURL: "https://stavily.test", TLS: pkitest.New(f, "CA").ClientTLS(), Agent: agentID})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, content string, body []byte) {
		header := http.Header{"Content-Type": {content}}
		api.AnswerWith(c, roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
		}))
		for _, k := range calls {
			_, err := k.invoke(context.Background(), c)
			if err == nil && !truth(k.name, status, header, body) {
				t.Errorf("%s took %d %q %q for a success", k.name, status, content, body)
			}
			if err != nil && !errors.As(err, new(*api.Error)) && !errors.As(err, new(*api.UnreachableError)) {
				t.Errorf("%s: %T %v, want a documented error", k.name, err, err)
			}
		}
	})
}
