package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// attacks are what becomes of an answer, by their share of a hundred.
var attacks = []struct {
	name  string
	share int
	do    func(x *exchange, said any)
}{
	{"without end", 4, func(x *exchange, _ any) { x.drip(strings.Repeat(" ", 32<<10), 0) }},
	{"slow", 1, func(x *exchange, _ any) { x.drip(" ", 20*time.Millisecond) }},
	{"silent", 1, func(x *exchange, _ any) { <-x.from.Context().Done() }},
	{"huge", 4, func(x *exchange, _ any) { x.send(http.StatusOK, x.huge()) }},
	{"cut off", 4, func(x *exchange, said any) {
		x.send(http.StatusOK, encoded(said)[:1])
		x.to.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}},
	{"of another length", 4, func(x *exchange, said any) {
		x.to.Header().Set("Content-Length", fmt.Sprint(1+x.dice.IntN(1<<20)))
		x.send(http.StatusOK, encoded(said))
	}},
	{"gzip, or not", 4, func(x *exchange, said any) {
		x.to.Header().Set("Content-Encoding", "gzip")
		x.send(http.StatusOK, [][]byte{encoded(said), gzipBomb()}[x.dice.IntN(2)])
	}},
	{"redirect", 4, func(x *exchange, said any) {
		x.to.Header().Set("Location", []string{x.lure.URL, x.server.URL}[x.dice.IntN(2)]+x.from.URL.Path)
		x.send([]int{301, 302, 303, 307, 308}[x.dice.IntN(5)], encoded(said))
	}},
	{"long header", 2, func(x *exchange, said any) {
		for n := range 64 {
			x.to.Header().Set(fmt.Sprint("X-", n), strings.Repeat("x", 4<<10))
		}
		x.send(http.StatusOK, encoded(said))
	}},
}

// attack draws one of them, or an answer that is spoiled and maybe is not.
func (x *exchange) attack(said any) {
	drawn := x.dice.IntN(100)
	for _, a := range attacks {
		if drawn -= a.share; drawn < 0 {
			x.note(a.name)
			a.do(x, said)
			return
		}
	}
	status, header, body := x.dice.Status(), x.dice.Header(), x.dice.Body(said, x.agent)
	if header.Get("Retry-After") != "" { // what can be understood is done, for up to an hour
		header.Set("Retry-After", []string{"-1", "0", "soon", "1e9"}[x.dice.IntN(4)])
	}
	if status != http.StatusOK || len(header) > 1 || !bytes.Equal(body, encoded(said)) {
		x.note("spoiled")
	}
	for name, values := range header {
		x.to.Header()[name] = values
	}
	x.send(status, body)
}

// drip sends pieces until the agent has had enough.
func (x *exchange) drip(piece string, pause time.Duration) {
	x.send(http.StatusOK, []byte(`{"instructions":[`))
	for x.from.Context().Err() == nil {
		if _, err := io.WriteString(x.to, piece); err != nil {
			return
		}
		x.to.(http.Flusher).Flush()
		time.Sleep(pause)
	}
}

// huge is more than is read, or just as much and larger when it is decoded.
func (x *exchange) huge() []byte {
	fill := func(head, piece, tail string) []byte {
		return []byte(head + strings.Repeat(piece, (api.MaxPollBytes-len(head)-len(tail))/len(piece)) + tail)
	}
	switch x.dice.IntN(4) {
	case 0:
		return fill(`{"instructions":[`, `{},`, `{}]}`)
	case 1:
		return fill(`{"instruction":{"plugin_configuration":{"arguments":[`, `"",`, `""]}}}`)
	case 2:
		return fill(`{`, `"instruction":{},`, `"instruction":{}}`)
	}
	return []byte(`{"status":"` + strings.Repeat("x", 32<<20) + `"}`)
}

// gzipBomb is 64 MiB of spaces.
var gzipBomb = sync.OnceValue(func() []byte {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for range 64 {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return packed.Bytes()
})
