package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Plugin logs are kept in logs/plugins on this host; what goes to the orchestrator
// is a copy for people to follow, and gives way when there is too much of it.
const (
	logBuffer = 4 * api.MaxLogLines    // entries that wait for upload; the oldest go first
	logLinger = 250 * time.Millisecond // how long the first of a batch waits for company

	// logRoom is where a batch is full: what the orchestrator takes in one request, less
	// the room for one more entry, whose characters may take six bytes each as JSON.
	logRoom = api.MaxBatchBytes - 8*api.MaxLogLineBytes
)

// logUpload sends plugin log entries in batches.
type logUpload struct {
	queue   chan api.LogEntry
	dropped func()       // counts an entry that gave way
	pauses  *api.Backoff // before a batch is sent again
}

func newLogUpload(dropped func(), pauses *api.Backoff) *logUpload {
	return &logUpload{queue: make(chan api.LogEntry, logBuffer), dropped: dropped, pauses: pauses}
}

// add never blocks: a plugin that floods loses copies, not time.
func (u *logUpload) add(e api.LogEntry) {
	for {
		select {
		case u.queue <- e:
			return
		default:
		}
		select {
		case <-u.queue:
			u.dropped()
		default:
		}
	}
}

// run uploads until ctx is cancelled. A batch that cannot be sent is tried once more, under the same
// numbers, for its answer may have been lost; then it is dropped and counted: the log on this host
// has it.
func (u *logUpload) run(ctx context.Context, send func(context.Context, api.LogBatch) error) error {
	stream, from := api.Stream{Epoch: rand.Text()}, 1
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-u.queue:
			batch := u.collect(ctx, first)
			batch.Stream, batch.From = stream, from
			from += len(batch.Logs)
			err := send(ctx, batch)
			if api.Retryable(err) && u.pause(ctx, err) {
				err = send(ctx, batch)
			}
			if err == nil {
				u.pauses.Reset()
				continue
			}
			for range batch.Logs {
				u.dropped()
			}
		}
	}
}

// pause waits as long as err asks for, at least, and reports whether it is to go on then.
func (u *logUpload) pause(ctx context.Context, err error) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(u.pauses.Next(api.RetryAfter(err))):
		return true
	}
}

func (u *logUpload) collect(ctx context.Context, first api.LogEntry) api.LogBatch {
	batch := api.LogBatch{Logs: []api.LogEntry{first}}
	linger := time.After(logLinger)
	size := sizeOf(first)
	for len(batch.Logs) < api.MaxLogLines && size < logRoom {
		select {
		case e := <-u.queue:
			batch.Logs = append(batch.Logs, e)
			size += sizeOf(e)
		case <-linger:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// sizeOf is what an entry takes in a request.
func sizeOf(e api.LogEntry) int {
	text, err := json.Marshal(e)
	if err != nil { // texts always marshal
		return api.MaxLogLineBytes
	}
	return len(text) + len(",")
}
