package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"
)

// units are what the machine takes, at the middle, for what most of an event's way is made of:
// to compare machines by.
func units(ctx context.Context, dir, python string) ([]Figure, error) {
	flush, err := flushes(dir)
	if err != nil {
		return nil, err
	}
	trip, err := roundTrips(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := bareStart(ctx, python)
	if err != nil {
		return nil, err
	}
	return []Figure{
		{"this machine: a record is appended and flushed, p50", flush, "ms", 0, 0},
		{"this machine: round trip, HTTP/2, mutual TLS, p50", trip, "ms", 0, 0},
		{"this machine: bare start of the interpreter, p50", bare, "ms", 0, 0},
	}, nil
}

const recorded = 500 // bytes

func flushes(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "flushes"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	record := make([]byte, recorded)
	return medianOf(1000, func() error {
		if _, err := f.Write(record); err != nil {
			return err
		}
		return f.Sync()
	})
}

func roundTrips(ctx context.Context) (float64, error) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = server.TLS.Certificates
	return medianOf(1000, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
}

// medianOf is the median of what do takes in ms, n times, one after the other.
func medianOf(n int, do func() error) (float64, error) {
	var took []float64
	for range n {
		begin := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(begin))/float64(time.Millisecond))
	}
	return middle(took), nil
}
