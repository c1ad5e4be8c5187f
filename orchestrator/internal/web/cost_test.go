package web_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
)

// What a page may take.
const (
	mostFirstByte = 20 * time.Millisecond
	mostPage      = 100_000 // bytes
	manyRuns      = 100_000
	manyWorkflows = 20 // that the runs are of
	askedFor      = 60 // times each page
)

// TestCostOfPages measures how long pages take until their first byte, over HTTPS, with many
// runs in the store: make bench.
func TestCostOfPages(t *testing.T) {
	if os.Getenv("STAVILY_BENCH") == "" {
		t.Skip("a measurement: make bench")
	}
	s, admin := dashboard(t)
	for n := range manyWorkflows {
		text := fmt.Sprintf("name: w-%d\ntriggers: [{manual: {}}]\nactions:\n  - {id: ask, approval: {}}\n  - {id: work, needs: [ask], plugin: worker, agents: {ids: [act-1]}}\n", n)
		s.Do(http.MethodPost, "/api/v1/workflows", operatorapi.ApplyRequest{File: "w", Text: text, AllowMissing: true}, nil)
	}
	var runs []operatorapi.Run
	s.Do(http.MethodGet, "/api/v1/runs", nil, &runs)
	s.Stop()
	if err := fill(t, s); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	admin.base = s.WebURL()
	admin.post("/login", map[string][]string{"org": {"default"}, "user": {"admin"}, "password": {password}, "next": {"/"}}, http.StatusSeeOther)
	run := string(runs[0].ID)
	fmt.Printf("%-42s %8s %8s %8s\n", "page, with 100,000 runs in the store", "p50 ms", "p95 ms", "kB")
	for _, path := range []string{
		"/", "/runs", "/runs?status=failed", "/runs?status=escalated", "/runs?status=running", "/runs?status=failed&workflow=w-7", "/runs?workflow=w-7",
		"/runs/" + run, "/workflows", "/workflows/w-7", "/agents", "/events", "/audit", "/access",
	} {
		took, size := admin.time(path)
		p50, p95 := took[askedFor/2], took[askedFor*95/100]
		fmt.Printf("%-42s %8.2f %8.2f %8.1f\n", strings.Replace(path, run, "{id}", 1), p50.Seconds()*1e3, p95.Seconds()*1e3, float64(size)/1e3)
		if p50 > mostFirstByte || size > mostPage {
			t.Errorf("%s: its first byte takes %s (p50) and it has %d bytes; at most %s and %d are promised", path, p50, size, mostFirstByte, mostPage)
		}
	}
}

// fill puts runs into the store of a server that is stopped, of which one in a hundred failed
// and none was escalated.
func fill(t *testing.T, s *servertest.Server) (err error) {
	st, err := sqlite.Open(t.Context(), filepath.Join(s.DataDir, "stavily.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	begin := time.Now().Add(-manyRuns * time.Second)
	const batch = 2000
	for from := 0; from < manyRuns && err == nil; from += batch {
		err = st.Org("default").Update(t.Context(), func(tx store.Tx) error {
			for n := from; n < from+batch; n++ {
				at := begin.Add(time.Duration(n) * time.Second)
				r := store.Run{
					ID: api.RunID(fmt.Sprintf("00%024d", n)), Workflow: fmt.Sprintf("w-%d", n/7%manyWorkflows), Version: 1, Status: "completed", Key: "k",
					CreatedAt: at, StartedAt: at, FinishedAt: at.Add(time.Second),
				}
				if n%100 == 0 {
					r.Status, r.Error = "failed", "step clean: exit code 1"
				}
				if err := tx.PutRun(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}

// time asks for a page again and again, and tells how long each took until its first byte.
func (p *person) time(path string) (took []time.Duration, size int64) {
	p.t.Helper()
	took = make([]time.Duration, askedFor)
	for n := range took {
		var begin time.Time
		trace := httptrace.ClientTrace{GotFirstResponseByte: func() { took[n] = time.Since(begin) }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(p.t.Context(), &trace), http.MethodGet, p.base+path, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		begin = time.Now()
		answer, err := p.http.Do(r)
		if err != nil {
			p.t.Fatal(err)
		}
		size, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			p.t.Fatalf("%s: %s %v", path, answer.Status, err)
		}
	}
	slices.Sort(took)
	return took, size
}
