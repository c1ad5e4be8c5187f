package agent

import (
	"context"
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
	dropped func() // counts an entry that gave way
}

func newLogUpload(dropped func()) *logUpload {
	return &logUpload{queue: make(chan api.LogEntry, logBuffer), dropped: dropped}
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

// run uploads until ctx is cancelled. A batch that cannot be sent is dropped and
// counted: the log on this host has it.
func (u *logUpload) run(ctx context.Context, send func(context.Context, api.LogBatch) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-u.queue:
			batch := u.collect(ctx, first)
			if err := send(ctx, batch); err != nil {
				for range batch.Logs {
					u.dropped()
				}
			}
		}
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
