package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// intake pushes full batches from several enrolled sensors at once, each with one
// batch in flight as the agent does it, and counts what was acknowledged.
func intake(ctx context.Context, b *bench) ([]Figure, error) {
	clients := make([]*api.Client, b.agents)
	for i := range clients {
		var err error
		if clients[i], err = b.pusher(ctx, api.AgentID(fmt.Sprintf("push-%d", i))); err != nil {
			return nil, err
		}
		defer clients[i].CloseIdle()
	}
	var acked atomic.Int64
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range clients {
		group.Go(func() error { return push(ctx, c, begin.Add(b.intake), &acked) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return []Figure{
		{fmt.Sprintf("%d agents, batches of %d", b.agents, api.MaxBatchEvents), float64(acked.Load()) / time.Since(begin).Seconds(), "events/s", 0},
	}, nil
}

func (b *bench) pusher(ctx context.Context, id api.AgentID) (*api.Client, error) {
	a, err := b.AddAgent(ctx, id, api.Sensor)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(a.Base, "certificates")
	creds, err := pki.LoadCredentials(pki.Files{Cert: filepath.Join(dir, "client.crt"), Key: filepath.Join(dir, "client.key"), CA: filepath.Join(dir, "ca.crt")})
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.ClientOptions{BaseURL: b.URL(), TLS: creds.ClientTLS(pki.ClientOptions{}), Agent: id, Timeout: time.Minute, RequestsPerSecond: 1e6, Burst: 1000})
}

func push(ctx context.Context, c *api.Client, until time.Time, acked *atomic.Int64) error {
	var epoch [16]byte
	if _, err := rand.Read(epoch[:]); err != nil {
		return err
	}
	batch := api.EventBatch{Stream: api.Stream{Epoch: hex.EncodeToString(epoch[:])}, Events: make([]api.Event, api.MaxBatchEvents)}
	seq := uint64(0)
	for time.Now().Before(until) {
		for i := range batch.Events {
			seq++
			batch.Events[i] = api.Event{
				Seq: seq, ID: api.EventID(ulid.Make().String()), Type: "bench.push", Timestamp: api.At(time.Now()),
				Severity: api.Low, Data: map[string]json.RawMessage{"value": json.RawMessage("42"), "host": json.RawMessage(`"bench"`)},
			}
		}
		answer, err := c.Events(ctx, batch)
		if err != nil {
			return err
		}
		if answer.AckedThrough != seq {
			return fmt.Errorf("acknowledged through %d, want %d", answer.AckedThrough, seq)
		}
		acked.Add(int64(len(batch.Events)))
	}
	return nil
}
