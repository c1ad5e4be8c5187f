package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// receiver is the small web server that the output plugin posts to.
type receiver struct {
	url string
	srv *http.Server
	end chan error

	mu  sync.Mutex // guards got
	got []string   // the text of every message, in order
}

// maxMessage bounds one message; chat services take about 40 KiB.
const maxMessage = 64 << 10

func newReceiver(ctx context.Context) (*receiver, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the webhook: %w", err)
	}
	r := &receiver{url: "http://" + ln.Addr().String() + "/hook", end: make(chan error, 1)}
	r.srv = &http.Server{Handler: http.HandlerFunc(r.receive), ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	go func() { r.end <- r.srv.Serve(ln) }()
	return r, nil
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	var message struct {
		Text string `json:"text"`
	}
	if err := limits.DecodeJSON(req.Body, maxMessage, &message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, message.Text)
}

// messages returns what has arrived so far.
func (r *receiver) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

func (r *receiver) close() error {
	err := r.srv.Close()
	if ended := <-r.end; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
