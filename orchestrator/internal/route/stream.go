package route

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Stream is an answer of unknown length: it calls emit for each value until it has
// no more, ctx is done or emit fails. Each value is sent at once: as one line of JSON, or
// as one server-sent event to who asks for those (Accept: text/event-stream).
type Stream func(ctx context.Context, emit func(v any) error) error

// Item is a value of a stream with the place where it stands. A client that names the
// place goes on after it, see [Call.Place].
type Item struct {
	Place string // without line ends
	Value any
}

// pingEvery is how often a stream of server-sent events says that it lives: proxies
// mostly cut what was silent for a minute, some for half of one.
const pingEvery = 15 * time.Second

// Place is where a client wants a stream to go on: after the last item that it has seen.
// Browsers say it by themselves when they connect again, others in the parameter cursor.
func (c *Call) Place() string {
	if place := c.request.Header.Get("Last-Event-Id"); place != "" {
		return place
	}
	return c.Query.Get("cursor")
}

// stream answers 200 with the values of s. A reader that does not take one within
// transferLimit is cut off.
func (r *reply) stream(ctx context.Context, request *http.Request, s Stream) error {
	w := &streamWriter{reply: r, write: writeLine}
	kind := "application/x-ndjson"
	if strings.Contains(request.Header.Get("Accept"), "text/event-stream") {
		kind, w.write = "text/event-stream", writeEvent
	}
	r.w.Header().Set("Content-Type", kind)
	r.begun = true
	r.w.WriteHeader(http.StatusOK)
	if err := w.send(nil); err != nil { // the header, so that a follower knows it is connected
		return err
	}
	if kind != "text/event-stream" {
		return s(ctx, w.emit)
	}
	ctx, stop := context.WithCancel(ctx)
	var pings sync.WaitGroup
	pings.Go(func() { w.ping(ctx, stop, r.pingEvery) })
	err := s(ctx, w.emit)
	stop()
	pings.Wait()
	if err != nil {
		return err
	}
	return w.send([]byte("event: end\ndata: {}\n\n")) // else browsers would connect again
}

// streamWriter sends what one stream has, piece by piece.
type streamWriter struct {
	mu    sync.Mutex // one piece at a time
	reply *reply
	write func(b *bytes.Buffer, place string, value []byte)
}

func (w *streamWriter) emit(v any) error {
	item, ok := v.(Item)
	if !ok {
		item.Value = v
	}
	value, err := json.Marshal(item.Value)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	var piece bytes.Buffer
	w.write(&piece, item.Place, value)
	return w.send(piece.Bytes())
}

func writeLine(b *bytes.Buffer, _ string, value []byte) {
	b.Write(value)
	b.WriteByte('\n')
}

func writeEvent(b *bytes.Buffer, place string, value []byte) {
	if place != "" {
		b.WriteString("id: " + place + "\n")
	}
	b.WriteString("data: ")
	b.Write(value) // JSON has no line ends of its own
	b.WriteString("\n\n")
}

// ping keeps the connection from looking dead. One that is dead ends the stream.
func (w *streamWriter) ping(ctx context.Context, stop func(), every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := w.send([]byte(":\n\n")); err != nil {
				stop()
				return
			}
		}
	}
}

func (w *streamWriter) send(piece []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.reply.control.SetWriteDeadline(time.Now().Add(transferLimit))
	if err == nil && len(piece) > 0 {
		_, err = w.reply.w.Write(piece)
	}
	if err == nil {
		err = w.reply.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}
