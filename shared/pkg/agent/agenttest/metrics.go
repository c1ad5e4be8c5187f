package agenttest

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// scrapeLimit bounds one look at the metrics.
const scrapeLimit = 10 * time.Second

// Metric reads a metric of the agent with this base directory, without its prefix: its values
// by their one label, or nil when the agent serves none.
func Metric(t testing.TB, base, name string) map[string]float64 {
	t.Helper()
	addr, err := os.ReadFile(filepath.Join(base, "data", "state", "metrics.addr"))
	if err != nil {
		return nil
	}
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+strings.TrimSpace(string(addr))+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: scrapeLimit}
	resp, err := client.Do(request)
	if err != nil {
		return nil // a former process said so
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, 1<<20)
	if err != nil {
		t.Error(err)
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		sample, labels, _ := strings.Cut(sample, "{")
		n, err := strconv.ParseFloat(value, 64)
		if sample != "stavily_agent_"+name || err != nil {
			continue
		}
		_, label, _ := strings.Cut(strings.TrimSuffix(labels, `"}`), `"`)
		found[label] = n
	}
	return found
}

// AwaitBalance awaits, at most for limit, that what the agent took in of each kind is as much
// as what became of it.
func AwaitBalance(t testing.TB, base string, limit time.Duration, kinds ...string) {
	t.Helper()
	for _, of := range kinds {
		end := time.Now().Add(limit)
		for n := Metric(t, base, of+"_unaccounted")[""]; n != 0; n = Metric(t, base, of+"_unaccounted")[""] {
			if time.Now().After(end) {
				t.Errorf("%v %s are unaccounted for: %v", n, of, Metric(t, base, of+"_account"))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
