// Package apitest makes answers that no honest orchestrator gives, for tests of what agents
// do with them. It is to package api what pkitest is to package pki.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

// Spoiler makes answers out of good ones, spoiled in some way that the dice choose: the same
// dice make the same answer. Some are as good as they were, so that a client that refuses
// everything is found as well. It is as safe for concurrent use as its dice.
type Spoiler struct{ *rand.Rand }

// Body encodes an answer to the named agent and spoils it.
func (s Spoiler) Body(good any, agent api.AgentID) []byte {
	b, err := json.Marshal(good)
	if err != nil {
		panic(err) // a mistake in the test's source
	}
	switch s.IntN(10) {
	case 0: // truncated
		b = b[:s.IntN(len(b))]
	case 1: // bits flipped
		for range 1 + s.IntN(8) {
			b[s.IntN(len(b))] ^= 1 << s.IntN(8)
		}
	case 2: // other types: every string a number, or every true a string
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`"0`), []byte(`0,"`)), []byte("true"), []byte(`"true"`))
	case 3: // nothing of it
		b = [][]byte{nil, []byte("null"), []byte("{}"), []byte("[]"), []byte(`""`), []byte("0"), []byte("true"), []byte("<html>")}[s.IntN(8)]
	case 4: // deep
		b = []byte(strings.Repeat(`{"a":`, 1<<s.IntN(16)))
	case 5: // two documents
		b = append(b, b...)
	case 6: // keys twice
		b = append(append([]byte("{"), bytes.TrimSuffix(bytes.TrimPrefix(b, []byte("{")), []byte("}"))...), []byte(`,"success":false,"acknowledged":false,"agent_id":"evil"}`)...)
	case 7: // false instead of true
		b = bytes.ReplaceAll(b, []byte("true"), []byte("false"))
	case 8: // for somebody else
		b = bytes.ReplaceAll(b, []byte(agent), []byte("web-02"))
	}
	return b
}

// Status is 200 in two of three cases.
func (s Spoiler) Status() int {
	if s.IntN(3) > 0 {
		return http.StatusOK
	}
	return []int{201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 429, 500, 502, 503, 599, 999}[s.IntN(18)]
}

// Header says most often that it is JSON, and now and then what is not so.
func (s Spoiler) Header() http.Header {
	kind := "application/json"
	if s.IntN(5) == 0 {
		kind = []string{"", "text/html", "application/octet-stream", "application/json; charset=utf-8", "a/b/c;;;"}[s.IntN(5)]
	}
	out := http.Header{"Content-Type": {kind}}
	switch s.IntN(8) {
	case 0:
		out.Set("Content-Encoding", "gzip")
	case 1:
		out.Set("Location", "https://evil.example.com/"+strings.Repeat("a", s.IntN(8192)))
	case 2:
		out.Set("Retry-After", fmt.Sprint(s.Int64()))
	case 3:
		out.Set("Content-Length", fmt.Sprint(s.IntN(1<<20)))
	}
	return out
}
